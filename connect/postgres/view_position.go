package postgres

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// openPositioned opens a view on the snapshot of a temporary slot. What was committed before the slot's
// consistent point is in the snapshot and nothing else; the slot and its snapshot end with the session,
// which stays idle until the view is closed.
func openPositioned(ctx context.Context, e waybill.Endpoint, o waybill.ViewOptions) (*view, error) {
	op := "open positioned view of " + e.Name
	conn, err := connect(ctx, e, "view position", map[string]string{"replication": "database"})
	if err != nil {
		return nil, err
	}
	system, err := query(ctx, conn, "IDENTIFY_SYSTEM")
	if err != nil {
		closeConn(conn)
		return nil, classify(op, waybill.TableName{}, err)
	}
	export := "EXPORT_SNAPSHOT"
	if serverVersion(conn) >= 150000 {
		export = "(SNAPSHOT 'export')"
	}
	name := "waybill_view_" + randomName()
	slot, err := query(ctx, conn, "CREATE_REPLICATION_SLOT "+name+" TEMPORARY LOGICAL pgoutput "+export)
	if err != nil {
		closeConn(conn)
		return nil, classify(op, waybill.TableName{}, err)
	}
	p, err := parsePosition(waybill.Position(fmt.Sprintf("%s/%s/%s", system[0][0], system[0][1], slot[0][1])))
	if err != nil {
		closeConn(conn)
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return newView(ctx, e, string(slot[0][2]), p.Position(), o, func() error {
		dropTemporarySlot(conn, name)
		return nil
	})
}

// dropTemporarySlot ends the session. The slot would go with it, but at some time after: so it is gone at once.
func dropTemporarySlot(conn *pgconn.PgConn, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = exec(ctx, conn, "DROP_REPLICATION_SLOT "+name) // the end of the session does it too
	closeConn(conn)
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x", b)
}

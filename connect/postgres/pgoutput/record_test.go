package pgoutput

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/waybill-data/waybill/internal/dbtest"
	"github.com/waybill-data/waybill/internal/pgserver"
)

var record = flag.Bool("record", false, "record testdata from a real server of version 18")

// everything makes a message of every type that protocol 4 has.
var everything = []string{
	"CREATE TYPE mood AS ENUM ('sad', 'ok')",
	"CREATE TABLE a (id int PRIMARY KEY, t text, n numeric(10,2), m mood)", "ALTER TABLE a ALTER t SET STORAGE EXTERNAL",
	"CREATE TABLE bag (x int, y text)", "ALTER TABLE bag REPLICA IDENTITY FULL", "CREATE TABLE wide (id int, k text NOT NULL UNIQUE)",
	"ALTER TABLE wide REPLICA IDENTITY USING INDEX wide_k_key",
	"CREATE PUBLICATION p FOR ALL TABLES", "SELECT pg_create_logical_replication_slot('SLOT', 'pgoutput', false, true)",
	"INSERT INTO a VALUES (1, repeat('x', 3000), 1.5, 'ok'), (2, NULL, 'NaN', NULL)", "UPDATE a SET n = 2 WHERE id = 1", "UPDATE a SET id = 3 WHERE id = 2",
	"DELETE FROM a WHERE id = 3", "INSERT INTO bag VALUES (1, ''), (NULL, NULL)", "UPDATE bag SET y = 'é' WHERE x = 1", "DELETE FROM bag",
	"INSERT INTO wide VALUES (1, 'k')", "UPDATE wide SET k = 'l'", "DELETE FROM wide", "TRUNCATE a, bag RESTART IDENTITY CASCADE",
	"SELECT pg_logical_emit_message(true, 'prefix', 'content'), pg_logical_emit_message(false, 'aside', '')",
	"BEGIN; INSERT INTO a VALUES (10); PREPARE TRANSACTION 'SLOT one'", "COMMIT PREPARED 'SLOT one'",
	"BEGIN; INSERT INTO a VALUES (11); PREPARE TRANSACTION 'SLOT two'", "ROLLBACK PREPARED 'SLOT two'",
	"BEGIN; INSERT INTO a SELECT i, repeat('s', 60) FROM generate_series(100, 400) i; SAVEPOINT s; INSERT INTO bag SELECT i, 'gone' FROM generate_series(1, 500) i;" +
		" ROLLBACK TO s; INSERT INTO wide VALUES (5, 'w'); SELECT pg_logical_emit_message(true, 'inside', 'x'); TRUNCATE bag; COMMIT",
	"BEGIN; INSERT INTO a SELECT i, repeat('p', 60) FROM generate_series(500, 900) i; PREPARE TRANSACTION 'SLOT three'", "COMMIT PREPARED 'SLOT three'",
	"BEGIN; INSERT INTO a SELECT i, repeat('r', 60) FROM generate_series(1000, 1400) i; ROLLBACK",
}

// load reads recorded messages: each is its length in four bytes and itself.
func load(t testing.TB, file string) [][]byte {
	t.Helper()
	content, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for len(content) > 0 {
		size := 4 + int(binary.BigEndian.Uint32(content))
		messages = append(messages, content[4:size])
		content = content[size:]
	}
	return messages
}

func save(t *testing.T, file, url, slot string) {
	t.Helper()
	rows := dbtest.Rows(t, url, "SET logical_decoding_work_mem = '64kB'; SELECT data FROM pg_logical_slot_get_binary_changes('"+slot+
		"', NULL, NULL, 'proto_version', '4', 'publication_names', 'p', 'streaming', 'on', 'messages', 'true')")
	var out bytes.Buffer
	kept := map[byte]int{}
	for _, row := range rows {
		message, err := hex.DecodeString(strings.TrimPrefix(row[0], `\x`))
		if err != nil {
			t.Fatal(err)
		}
		// Many alike teach nothing more.
		if kept[message[0]]++; file == "everything.bin" && kept[message[0]] > 40 && strings.IndexByte("IUD", message[0]) >= 0 {
			continue
		}
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(message))))
		out.Write(message)
	}
	if err := os.WriteFile("testdata/"+file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRecord is how testdata was made.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("recording replaces testdata; run with -record")
	}
	url := dbtest.Database(t, 18)
	slot := "record_everything"
	for _, statement := range everything {
		dbtest.Exec(t, url, strings.ReplaceAll(statement, "SLOT", slot))
	}
	save(t, "everything.bin", url, slot)

	url = dbtest.Database(t, 18)
	bin, _, err := pgserver.BinDir(15) // the only one that brings pgbench
	if err != nil {
		t.Fatal(err)
	}
	pgbench := func(args ...string) {
		out, err := exec.Command(bin+"/pgbench", append(args, url)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	pgbench("-i", "-q", "-s", "1")
	dbtest.Exec(t, url, "ALTER TABLE pgbench_history REPLICA IDENTITY FULL", "CREATE PUBLICATION p FOR ALL TABLES",
		"SELECT pg_create_logical_replication_slot('record_pgbench', 'pgoutput')")
	pgbench("-n", "-t", "300")
	save(t, "pgbench.bin", url, "record_pgbench")
}

// print writes a message as one line.
func printMessage(m *Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%c", m.Type)
	tuple := func(name string, t Tuple) {
		fields := t.Fields()
		fmt.Fprintf(&b, " %s(", name)
		for i := range t.Len() {
			kind, text := fields.Next()
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%c", kind)
			if len(text) > 20 {
				fmt.Fprintf(&b, ":%d", len(text))
			} else if text != nil {
				fmt.Fprintf(&b, ":%q", text)
			}
		}
		b.WriteByte(')')
	}
	fmt.Fprintf(&b, " xid=%t sub=%t lsn=%t end=%t time=%t", m.XID != 0, m.Sub != 0, m.LSN != 0, m.End > m.LSN, m.Time > 1_700_000_000_000_000)
	if len(m.Name) > 0 {
		fmt.Fprintf(&b, " %s.%s", m.Namespace, m.Name)
	}
	if m.Identity != 0 {
		fmt.Fprintf(&b, " identity=%c", m.Identity)
	}
	for _, c := range m.Columns {
		fmt.Fprintf(&b, " %s/%t/%d", c.Name, c.Key, c.Mod)
	}
	if m.OldKind != 0 {
		tuple(string(m.OldKind), m.Old)
	}
	if m.New.Len() > 0 {
		tuple("N", m.New)
	}
	if len(m.OIDs) > 0 {
		fmt.Fprintf(&b, " tables=%d cascade=%t restart=%t", len(m.OIDs), m.Cascade, m.RestartIdentity)
	}
	if m.Type == Logical {
		fmt.Fprintf(&b, " %t %q", m.Transactional, m.Content)
	}
	if m.First {
		b.WriteString(" first")
	}
	return b.String()
}

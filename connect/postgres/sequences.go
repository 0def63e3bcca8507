package postgres

import (
	"context"
	"slices"

	"github.com/waybill-data/waybill"
)

// Sequences reads the sequences on a session of its own, because the view's would keep them locked until Close.
func (w *view) Sequences(ctx context.Context, versions []*waybill.TableVersion) ([]waybill.SequenceState, error) {
	names := sequenceNames(versions)
	if len(names) == 0 {
		return nil, nil
	}
	conn, err := connect(ctx, w.readers.endpoint, "sequences", nil)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	states := make([]waybill.SequenceState, 0, len(names))
	for _, name := range names {
		rows, err := query(ctx, conn, "SELECT last_value, is_called FROM "+quoteTable(name))
		if state := sqlState(err); state == "42P01" || state == "3F000" {
			logOf(w.options.Log).Info("a sequence went while its table was on its way", "sequence", name.String())
			continue // the stream tells of it
		}
		if err != nil {
			return nil, classify("read sequence", name, err)
		}
		last, ok := parseInt(string(rows[0][0]))
		if !ok {
			return nil, waybill.Errorf(waybill.Bug, "read sequence "+name.String(), "last value %q", rows[0][0])
		}
		states = append(states, waybill.SequenceState{Name: name, Last: last, Called: isTrue(rows[0][1])})
	}
	return states, nil
}

// sequenceNames lists the sequences of the versions, each once, sorted.
func sequenceNames(versions []*waybill.TableVersion) []waybill.TableName {
	var names []waybill.TableName
	for _, v := range versions {
		for _, s := range v.Sequences {
			names = append(names, s.Name)
		}
	}
	slices.SortFunc(names, func(a, b waybill.TableName) int {
		switch {
		case a.Less(b):
			return -1
		case b.Less(a):
			return 1
		}
		return 0
	})
	return slices.Compact(names)
}

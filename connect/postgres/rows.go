package postgres

import (
	"fmt"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/postgres/pgoutput"
)

// decodeRow decodes a tuple into a row of the slab. onlyKey takes the columns of the replica identity and leaves
// the others absent: in such a tuple the server fills them with null.
func (s *shape) decodeRow(into *slab, t pgoutput.Tuple, onlyKey bool) (waybill.Row, error) {
	if t.Len() != len(s.columns) {
		return nil, &waybill.Error{Op: "decode row", Table: s.mapped.Table, Fault: waybill.Bug,
			Err: fmt.Errorf("%d values for %d announced columns", t.Len(), len(s.columns))}
	}
	fields := t.Over(into.hold(t.Bytes())).Fields()
	row := into.row(len(s.mapped.Columns))
	for i, at := range s.columns {
		field, text := fields.Next()
		if onlyKey && !s.keys[i] {
			continue
		}
		switch field {
		case pgoutput.Text:
			value, err := decodeText(s.kinds[i], aliased(text))
			if err != nil {
				return nil, s.badValue(i, err)
			}
			row[at] = value
		case pgoutput.Null:
			row[at] = waybill.Null
		case pgoutput.Unchanged: // stays Absent
		default:
			return nil, s.badValue(i, fmt.Errorf("value in a format that was not asked for (%q)", byte(field)))
		}
	}
	return row, nil
}

func (s *shape) badValue(i int, err error) error {
	return &waybill.Error{Op: "decode column " + s.says.columns[i].name + " of", Table: s.mapped.Table, Fault: waybill.Data, Err: err,
		Hint: "look at the value at the source; if it is what it should be, report it with the column's type"}
}

// change decodes an insert, update or delete of a carried table.
func (s *shape) change(into *slab, m *pgoutput.Message) (waybill.Change, error) {
	c := waybill.Change{Version: s.mapped}
	var err error
	if m.OldKind != 0 {
		if c.Before, err = s.decodeRow(into, m.Old, m.OldKind == pgoutput.OldKey); err != nil {
			return c, err
		}
	}
	if m.Type != pgoutput.Delete {
		if c.After, err = s.decodeRow(into, m.New, false); err != nil {
			return c, err
		}
	}
	switch m.Type {
	case pgoutput.Insert:
		c.Op = waybill.Insert
	case pgoutput.Delete:
		c.Op = waybill.Delete
	default:
		c.Op = waybill.Update
		err = s.completeUpdate(&c, m)
	}
	return c, err
}

// completeUpdate takes large values that did not travel from the whole old row, where there is one, and refuses an
// update that cannot be tied to a row.
func (s *shape) completeUpdate(c *waybill.Change, m *pgoutput.Message) error {
	if m.OldKind == pgoutput.OldFull {
		for _, at := range s.columns {
			if c.After[at].IsAbsent() {
				c.After[at] = c.Before[at]
			}
		}
		return nil
	}
	for _, key := range s.keys {
		if key {
			return nil
		}
	}
	return &waybill.Error{Op: "decode update of", Table: s.mapped.Table, Fault: waybill.Data,
		Err:  fmt.Errorf("the update tells no row: the table has no replica identity"),
		Hint: "give the table a primary key, or ALTER TABLE " + quoteTable(s.mapped.Table) + " REPLICA IDENTITY FULL; then copy it again (waybill link resync)"}
}

// decodeEvent reads a row of the event table. Its structure is fixed by name, so no version is needed.
func (s *shape) decodeEvent(t pgoutput.Tuple) (*event, error) {
	columns, values := make([]string, len(s.says.columns)), make([][]byte, len(s.says.columns))
	if t.Len() != len(columns) {
		return nil, waybill.Errorf(waybill.Bug, "decode event", "%d values for %d columns", t.Len(), len(columns))
	}
	fields := t.Fields()
	for i, c := range s.says.columns {
		columns[i] = c.name
		if field, text := fields.Next(); field == pgoutput.Text {
			values[i] = text
		}
	}
	return parseEvent(columns, values)
}

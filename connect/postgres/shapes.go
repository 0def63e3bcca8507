package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/postgres/pgoutput"
)

// role is what the rows of a published table are to the stream.
type role uint8

const (
	carried   role = iota // a table to follow
	ignored               // not selected
	eventLog              // waybill.event: its rows are structure changes
	heartbeat             // waybill.heartbeat
)

// ownSchema is the schema of what Waybill keeps in a database.
const ownSchema = "waybill"

// announced is a relation message: how rows of a table look from here on, as the server tells it.
type announced struct {
	oid      uint32
	table    waybill.TableName
	identity pgoutput.Identity
	columns  []announcedColumn
}

type announcedColumn struct {
	name string
	key  bool
	typ  typeID
}

// typeID is a type with its modifier as the log names it.
type typeID struct {
	oid uint32
	mod int32
}

// shape is what the stream knows of one published table: what the server announced, the version its rows are made
// under, and how the one maps to the other.
type shape struct {
	role    role
	says    *announced
	version *waybill.TableVersion
	until   uint64 // transactions up to here are not for the stream; the version is of here or later
	gone    bool   // the table was not there any more when the stream was resumed
	settled bool   // whatever was reported up to until is of no concern: the table was copied at until

	mapped  *waybill.TableVersion // the version that the mapping is for
	columns []int                 // announced column to column of the version
	kinds   []waybill.Kind
	keys    []bool
}

// shapes holds the structures of all tables of a stream at its present point (invariant 5).
type shapes struct {
	selection waybill.Selection
	silent    map[waybill.TableName]bool // tables whose first appearance is no news: their copy is under way
	tables    map[uint32]*shape
	roots     map[uint32]uint32 // partition to its root, by oid
	typeNames map[uint32]string // user types as the log named them
	native    map[typeID]string
	side      *side
	events    reshaper
	captured  bool   // a structure change was reported on this stream
	newcomers uint64 // up to where some tables are newcomers; 0: there are none
}

func newShapes(o waybill.ChangeOptions, s *side) *shapes {
	h := &shapes{selection: o.Tables, silent: map[waybill.TableName]bool{}, tables: map[uint32]*shape{}, roots: map[uint32]uint32{},
		typeNames: map[uint32]string{}, native: map[typeID]string{}, side: s}
	for _, table := range o.Hold {
		h.silent[table] = true
	}
	for table := range o.After {
		h.silent[table] = true
	}
	return h
}

// follow makes the version the present one of its table.
func (h *shapes) follow(v *waybill.TableVersion) error {
	oid, err := strconv.ParseUint(v.ID, 10, 32)
	if err != nil {
		return &waybill.Error{Op: "follow", Table: v.Table, Fault: waybill.Bug, Err: fmt.Errorf("table id %q: %w", v.ID, err)}
	}
	s := h.at(uint32(oid))
	s.version, s.role, s.until = v, carried, 0
	maps.DeleteFunc(h.roots, func(_, root uint32) bool { return root == uint32(oid) })
	h.addParts(uint32(oid), v.Partitions)
	return nil
}

func (h *shapes) addParts(root uint32, p *waybill.Partitioning) {
	if p == nil {
		return
	}
	for _, part := range p.Parts {
		if oid, err := strconv.ParseUint(part.ID, 10, 32); err == nil {
			h.roots[uint32(oid)] = root
		}
		h.addParts(root, part.Nested)
	}
}

func (h *shapes) at(oid uint32) *shape {
	s := h.tables[oid]
	if s == nil {
		s = &shape{}
		h.tables[oid] = s
	}
	return s
}

// announce takes a relation message. What it means is found out when a row of the table comes.
func (h *shapes) announce(m *pgoutput.Message) {
	a := &announced{oid: m.OID, table: waybill.TableName{Schema: string(m.Namespace), Name: string(m.Name)}, identity: m.Identity,
		columns: make([]announcedColumn, len(m.Columns))}
	for i, c := range m.Columns {
		a.columns[i] = announcedColumn{string(c.Name), c.Key, typeID{c.Type, c.Mod}}
	}
	s := h.at(m.OID)
	s.says, s.mapped = a, nil
	if a.table.Schema == ownSchema {
		switch a.table.Name {
		case "event":
			s.role = eventLog
		case "heartbeat":
			s.role = heartbeat
		default:
			s.role = ignored
		}
	}
}

// since notes that a table was copied at a place of the log that the stream has not come to.
func (h *shapes) since(v *waybill.TableVersion, lsn uint64) {
	for oid, s := range h.tables {
		if oidText(oid) == v.ID {
			s.until, s.settled = lsn, true
		}
	}
}

// meet takes in a newcomer: a table of the selection that exists now, but that no version was given for.
func (h *shapes) meet(v *waybill.TableVersion, now uint64) error {
	for oid, s := range h.tables {
		if s.version != nil && oidText(oid) == v.ID {
			return nil // known under the name that it had
		}
	}
	if err := h.follow(v); err != nil {
		return err
	}
	for oid, s := range h.tables {
		if oidText(oid) == v.ID {
			s.until, h.newcomers = now, now
		}
	}
	return nil
}

// miss notes that a followed table is gone now.
func (h *shapes) miss(v *waybill.TableVersion, now uint64) {
	for oid, s := range h.tables {
		if oidText(oid) == v.ID {
			s.gone, h.newcomers = true, now
		}
	}
}

const newcomerReason = "the table was not followed before; rows from before are not in the log"

// settle makes followed tables of the newcomers once the stream is past the place where they were met, and returns
// the reshapes that tell of them, and of the tables that were gone there without a report. A table whose copy is
// under way makes none.
func (h *shapes) settle(lsn uint64) []*waybill.Shape {
	if h.newcomers == 0 || lsn <= h.newcomers {
		return nil
	}
	h.newcomers = 0
	var news []*waybill.Shape
	for _, s := range h.tables {
		switch {
		case s.version == nil:
		case s.gone:
			news = append(news, &waybill.Shape{Before: s.version, Inferred: true, Reason: "the table is not there any more, and no report told when it went"})
			h.forget(s.version)
		case s.until != 0 && !s.settled:
			if s.until = 0; !h.silent[s.version.Table] {
				news = append(news, &waybill.Shape{After: s.version, Inferred: true, Reload: true, Reason: newcomerReason})
			}
		}
	}
	slices.SortFunc(news, func(a, b *waybill.Shape) int {
		if (a.After == nil) != (b.After == nil) { // what went makes room for what came
			if a.After == nil {
				return -1
			}
			return 1
		}
		return compareTables(a.Table(), b.Table())
	})
	return news
}

// of returns the shape that a row of a relation is made under, nil if the row is not for the stream. A reshape is
// returned where the server's announcement differs from the version and nothing reported why; it belongs before
// the row.
func (h *shapes) of(ctx context.Context, oid uint32, lsn uint64) (*shape, *waybill.Shape, error) {
	s := h.tables[oid]
	if s == nil || s.says == nil {
		return nil, nil, waybill.Errorf(waybill.Bug, "decode row", "no relation message came for table %d", oid)
	}
	if lsn <= h.whole(oid, s).until {
		return nil, nil, nil
	}
	if s.role != carried || s.mapped != nil && s.mapped == h.present(oid, s) {
		return s, nil, nil
	}
	reshape, err := h.resolve(ctx, oid, s)
	return s, reshape, err
}

// whole returns the shape of the table that a relation is part of: itself, or its root.
func (h *shapes) whole(oid uint32, s *shape) *shape {
	if len(h.roots) > 0 {
		if root, ok := h.roots[oid]; ok {
			return h.at(root)
		}
	}
	return s
}

// present returns the version that rows of the relation are made under.
func (h *shapes) present(oid uint32, s *shape) *waybill.TableVersion { return h.whole(oid, s).version }

func (h *shapes) resolve(ctx context.Context, oid uint32, s *shape) (*waybill.Shape, error) {
	version := h.present(oid, s)
	if version == nil {
		return h.adopt(ctx, s)
	}
	after, err := h.compare(ctx, s, version)
	if err != nil {
		return nil, err
	}
	if after == nil {
		h.mapColumns(s, version)
		return nil, nil
	}
	if err := h.follow(after); err != nil {
		return nil, err
	}
	h.mapColumns(s, after)
	reshape := &waybill.Shape{Before: version, After: after, Inferred: true, Reason: inferredReason}
	if hidesValues(version, after) {
		reshape.Reload, reshape.Reason = true, "a column came with a default that was written into rows unseen; "+inferredReason
	}
	return reshape, nil
}

// adopt takes in a table that is published and selected, but was never reported: somebody put it into the
// publication by hand while the stream was under way. Its structure is today's, if the log's own words agree with it.
func (h *shapes) adopt(ctx context.Context, s *shape) (*waybill.Shape, error) {
	version, err := h.side.describe(ctx, s.says.oid)
	if err != nil {
		return nil, err
	}
	if version == nil || !h.selection.Has(version.Table) && !h.selection.Has(s.says.table) {
		s.role = ignored // not wanted, or gone before anybody knew of it
		return nil, nil
	}
	after, err := h.compare(ctx, s, version)
	if err != nil || after != nil {
		return nil, &waybill.Error{Op: "follow", Table: version.Table, Fault: waybill.Passing,
			Err:  fmt.Errorf("the table came into the publication without a report and was changed since"),
			Hint: "the next start takes it in as it is now"}
	}
	if err := h.follow(version); err != nil {
		return nil, err
	}
	h.mapColumns(s, version)
	if h.silent[version.Table] {
		return nil, nil
	}
	return &waybill.Shape{After: version, Inferred: true, Reload: true, Reason: newcomerReason}, nil
}

// drift is the refusal to guess what happened to a table.
func drift(table waybill.TableName, what string) error {
	return &waybill.Error{Op: "follow", Table: table, Fault: waybill.Drift, Err: fmt.Errorf("%s", what),
		Hint: "copy the table again (waybill link resync); to have such changes carried, install capture at the source (waybill schema install)"}
}

// mapColumns fixes how announced columns map to the columns of a version that compare found to agree.
func (h *shapes) mapColumns(s *shape, v *waybill.TableVersion) {
	n := len(s.says.columns)
	s.mapped, s.columns, s.kinds, s.keys = v, make([]int, n), make([]waybill.Kind, n), make([]bool, n)
	for i, c := range s.says.columns {
		at := v.Column(c.name)
		s.columns[i], s.kinds[i], s.keys[i] = at, v.Columns[at].Type.Kind, c.key
	}
}

// reported applies a reported event and returns the reshapes that are of the stream's concern.
func (h *shapes) reported(e *event, lsn uint64) ([]*waybill.Shape, error) {
	h.captured = true
	known, later := map[string]*waybill.TableVersion{}, map[string]bool{}
	for oid, s := range h.tables {
		switch {
		case s.version == nil:
		case lsn > s.until:
			known[oidText(oid)] = s.version
		case s.settled:
			later[oidText(oid)] = true
		}
	}
	reported, err := h.events.shapes(e, known)
	if err != nil {
		return nil, err
	}
	var concern []*waybill.Shape
	for _, shape := range reported {
		switch {
		case shape.After != nil && later[shape.After.ID]:
			continue // its version is a later one
		case shape.Before == nil && (shape.After.Table.Schema == ownSchema || !h.selection.Has(shape.After.Table)):
			continue
		case shape.After == nil:
			h.forget(shape.Before)
		default:
			if err := h.follow(shape.After); err != nil {
				return nil, err
			}
		}
		concern = append(concern, shape)
	}
	return concern, nil
}

// forget drops a table that is gone, or that became a partition of another.
func (h *shapes) forget(v *waybill.TableVersion) {
	maps.DeleteFunc(h.tables, func(oid uint32, _ *shape) bool { return oidText(oid) == v.ID })
	maps.DeleteFunc(h.roots, func(_, root uint32) bool { return oidText(root) == v.ID })
}

func oidText(oid uint32) string { return strconv.FormatUint(uint64(oid), 10) }

package postgres

import (
	"context"
	"fmt"
	"maps"
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
	captured  bool // a structure change was reported on this stream
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
	h.at(uint32(oid)).version = v
	h.at(uint32(oid)).role = carried
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

// of returns the shape that a row of a relation is made under. A reshape is returned where the server's
// announcement differs from the version and nothing reported why; it belongs before the row.
func (h *shapes) of(ctx context.Context, oid uint32) (*shape, *waybill.Shape, error) {
	s := h.tables[oid]
	if s == nil || s.says == nil {
		return nil, nil, waybill.Errorf(waybill.Bug, "decode row", "no relation message came for table %d", oid)
	}
	if s.role != carried || s.mapped != nil && s.mapped == h.present(oid, s) {
		return s, nil, nil
	}
	reshape, err := h.resolve(ctx, oid, s)
	return s, reshape, err
}

// present returns the version that rows of the relation are made under: for a partition that of its root.
func (h *shapes) present(oid uint32, s *shape) *waybill.TableVersion {
	if root, ok := h.roots[oid]; ok {
		return h.at(root).version
	}
	return s.version
}

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
// publication by hand. Its structure is today's, and only if the log's own words agree with it.
func (h *shapes) adopt(ctx context.Context, s *shape) (*waybill.Shape, error) {
	table := s.says.table
	if !h.selection.Has(table) {
		s.role = ignored
		return nil, nil
	}
	version, err := h.side.describe(ctx, table)
	if err != nil {
		return nil, err
	}
	if version == nil || version.ID != oidText(s.says.oid) {
		return nil, &waybill.Error{Op: "follow", Table: table, Fault: waybill.Drift,
			Err:  fmt.Errorf("rows of the table came, but its structure at that time was not reported and the table is gone"),
			Hint: "take the table out of the selection (\"!" + table.String() + "\"); install capture (waybill schema install), so that structures are reported"}
	}
	after, err := h.compare(ctx, s, version)
	if err == nil && after != nil {
		err = drift(table, "its structure at that time was not reported and is not today's")
	}
	if err != nil {
		return nil, err
	}
	if err := h.follow(version); err != nil {
		return nil, err
	}
	h.mapColumns(s, version)
	if h.silent[table] {
		return nil, nil
	}
	return &waybill.Shape{After: version, Inferred: true, Reload: true, Reason: "the table was published without a report; rows from before are not in the log"}, nil
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
func (h *shapes) reported(e *event) ([]*waybill.Shape, error) {
	h.captured = true
	known := map[string]*waybill.TableVersion{}
	for oid, s := range h.tables {
		if s.version != nil {
			known[oidText(oid)] = s.version
		}
	}
	reported, err := h.events.shapes(e, known)
	if err != nil {
		return nil, err
	}
	var concern []*waybill.Shape
	for _, shape := range reported {
		switch {
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

const publishedReason = "the table was not followed before; rows from before are not in the log"

// published starts to follow a table that the stream's publication took in. A table whose copy is under way makes
// no reshape.
func (h *shapes) published(v *waybill.TableVersion) (*waybill.Shape, error) {
	var before *waybill.TableVersion
	for oid, s := range h.tables {
		if oidText(oid) == v.ID {
			before = s.version
		}
	}
	if err := h.follow(v); err != nil || h.silent[v.Table] {
		return nil, err
	}
	return &waybill.Shape{Before: before, After: v, Reload: true, Inferred: true, Reason: publishedReason}, nil
}

// forget drops a table that is gone, or that became a partition of another.
func (h *shapes) forget(v *waybill.TableVersion) {
	maps.DeleteFunc(h.tables, func(oid uint32, _ *shape) bool { return oidText(oid) == v.ID })
	maps.DeleteFunc(h.roots, func(_, root uint32) bool { return oidText(root) == v.ID })
}

func oidText(oid uint32) string { return strconv.FormatUint(uint64(oid), 10) }

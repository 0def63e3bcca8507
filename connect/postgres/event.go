package postgres

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
)

// event is one row of the source's table waybill.event: what one command did to the structure of tables.
type event struct {
	id        int64
	tag       string // of the command, or "rewrite"
	statement string // the text that the client sent, which may hold more than this command
	by        string
	at        time.Time
	tables    []touched
}

// touched is one entry of an event. Exactly one of Table, Dropped, DroppedIndex, Rewritten and Unknown is set.
type touched struct {
	Table   json.RawMessage // the complete structure after the command
	Filled  []string        // relations of Table that held rows and are new in it, or new in the publication
	Joined  []string        // relations of Table that a publication took in at this command
	Refused []string        // publications that want Table but could not take it in, and why

	Dropped      string // oid of a table or partition
	DroppedIndex string `json:"dropped_index"`
	Schema, Name string // of Dropped; Schema also of DroppedIndex

	Rewritten string // oid of a table whose rows the next command of the transaction writes anew
	Reason    int    // the server's reasons for it

	Unknown string // why the trigger could not tell what happened
}

// Why the server rewrites a table (event_trigger.h).
const (
	rewriteDefault = 2
	rewriteColumn  = 4
)

// parseEvent reads a row of waybill.event; nil is NULL.
func parseEvent(columns []string, row [][]byte) (*event, error) {
	e := &event{}
	for i, name := range columns {
		text := string(row[i])
		var err error
		switch name {
		case "id":
			e.id, err = strconv.ParseInt(text, 10, 64)
		case "tag":
			e.tag = text
		case "statement":
			e.statement = text
		case "by":
			e.by = text
		case "at":
			e.at, err = time.Parse("2006-01-02 15:04:05.999999-07", text)
		case "tables":
			err = json.Unmarshal(row[i], &e.tables)
		}
		if err != nil {
			return nil, &waybill.Error{Op: "read structure event", Fault: waybill.Drift, Hint: eventHint, Err: fmt.Errorf("column %s: %w", name, err)}
		}
	}
	return e, nil
}

const eventHint = "run waybill schema install once more, then resync the tables that were changed"

// reshaper turns the events of a stream into shapes. It remembers what one event says about the next.
type reshaper struct {
	rewritten map[string]int // reasons by oid
}

// shapes returns what an event did to the structures, in an order that they can be carried out in. known
// holds the versions before the event by their ID and is not changed. A table that is not in known is new.
// Changes that leave the structure as it was give nothing.
func (r *reshaper) shapes(e *event, known map[string]*waybill.TableVersion) ([]*waybill.Shape, error) {
	d := derivation{event: e, known: maps.Clone(known)}
	if d.known == nil {
		d.known = map[string]*waybill.TableVersion{}
	}
	for _, t := range e.tables {
		switch {
		case t.Unknown != "":
			return nil, &waybill.Error{Op: "follow structure change", Fault: waybill.Drift, Hint: eventHint,
				Err: fmt.Errorf("the source could not report %s by %s: %s", e.tag, e.by, t.Unknown)}
		case t.Rewritten != "":
			if r.rewritten == nil {
				r.rewritten = map[string]int{}
			}
			r.rewritten[t.Rewritten] |= t.Reason
		case t.Dropped != "":
			d.drop(t)
		case t.DroppedIndex != "":
			d.dropIndex(t)
		case t.Table != nil:
			after, err := parseStructure(t.Table)
			if err != nil {
				return nil, err
			}
			d.become(t, after, r.rewritten[after.ID])
			delete(r.rewritten, after.ID)
		}
	}
	return d.shapes, nil
}

// derivation is the work of reshaper.shapes on one event.
type derivation struct {
	event  *event
	known  map[string]*waybill.TableVersion
	shapes []*waybill.Shape
}

func (d *derivation) add(s *waybill.Shape) {
	s.Statement, s.By = d.event.statement, d.event.by
	d.shapes = append(d.shapes, s)
	if s.Before != nil {
		delete(d.known, s.Before.ID)
	}
	if s.After != nil {
		d.known[s.After.ID] = s.After
	}
}

// drop takes a table away, or a partition out of the table it was part of.
func (d *derivation) drop(t touched) {
	if before := d.known[t.Dropped]; before != nil {
		d.add(&waybill.Shape{Before: before})
		return
	}
	for _, before := range d.sorted() {
		if parts, found := withoutPart(before.Partitions, t.Dropped); found {
			after := *before
			after.Partitions = parts
			d.add(&waybill.Shape{Before: before, After: &after})
			return
		}
	}
}

// dropIndex takes an index away. The server names it without its table, but its name is unique in its schema.
func (d *derivation) dropIndex(t touched) {
	for _, before := range d.sorted() {
		i := slices.IndexFunc(before.Indexes, func(x waybill.Index) bool { return x.Name == t.DroppedIndex })
		if i < 0 || before.Table.Schema != t.Schema {
			continue
		}
		after := *before
		after.Indexes = slices.Delete(slices.Clone(before.Indexes), i, i+1)
		if len(after.Indexes) == 0 {
			after.Indexes = nil
		}
		if before.Identity == waybill.IdentityIndex && slices.Equal(namesOf(before, before.Key), before.Indexes[i].Columns) {
			after.Key, after.Identity = nil, waybill.IdentityNone
		}
		d.add(&waybill.Shape{Before: before, After: &after})
		return
	}
}

// become makes a table what the event says it is now.
func (d *derivation) become(t touched, after *waybill.TableVersion, rewrite int) {
	before := d.known[after.ID]
	now := partIDs(after.Partitions)
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if absorbed := d.known[id]; absorbed != nil {
			d.add(&waybill.Shape{Before: absorbed})
		}
	}
	s := &waybill.Shape{Before: before, After: after}
	s.Reason = d.reload(t, s, rewrite, now)
	s.Reload = s.Reason != ""
	var left []*waybill.Shape
	if before != nil {
		left = d.detached(before, now)
	}
	if before == nil || s.Reload || len(s.Steps()) > 0 || !slices.Equal(before.Sequences, after.Sequences) {
		d.add(s)
	}
	for _, l := range left {
		d.add(l)
	}
}

// detached makes partitions that left a table, and were not dropped, tables of their own. The event does not
// show their structure: it is the root's until their next change, and their rows are copied.
func (d *derivation) detached(before *waybill.TableVersion, now map[string]waybill.Partition) []*waybill.Shape {
	var shapes []*waybill.Shape
	was := partIDs(before.Partitions)
	for _, id := range slices.Sorted(maps.Keys(was)) {
		if _, still := now[id]; still || d.dropped(id) || !topmost(before.Partitions, now, id) {
			continue
		}
		after := *before
		after.ID, after.Table, after.Partitions = id, was[id].Table, was[id].Nested
		after.Constraints, after.Indexes, after.Comment = nil, nil, ""
		for _, c := range before.Constraints {
			if c.Kind == waybill.Check {
				after.Constraints = append(after.Constraints, c)
			}
		}
		shapes = append(shapes, &waybill.Shape{After: &after, Inferred: true, Reload: true, Reason: "detached from " + before.Table.String()})
	}
	return shapes
}

// topmost reports whether a partition that left did so by itself and not as a part of one that left.
func topmost(p *waybill.Partitioning, now map[string]waybill.Partition, id string) bool {
	for _, part := range p.Parts {
		if part.ID == id {
			return true
		}
		if _, inside := partIDs(part.Nested)[id]; inside {
			_, stays := now[part.ID]
			return stays && topmost(part.Nested, now, id)
		}
	}
	return false
}

func (d *derivation) dropped(id string) bool {
	return slices.ContainsFunc(d.event.tables, func(t touched) bool { return t.Dropped == id })
}

// sorted returns the known versions in a fixed order.
func (d *derivation) sorted() []*waybill.TableVersion {
	return slices.SortedFunc(maps.Values(d.known), func(a, b *waybill.TableVersion) int { return strings.Compare(a.ID, b.ID) })
}

// creations are the commands that make tables. A table that comes up in another one was there before.
var creations = []string{"CREATE TABLE", "CREATE TABLE AS", "SELECT INTO", "CREATE SCHEMA"}

// reload returns why the rows that are there must be copied again, or "".
func (d *derivation) reload(t touched, s *waybill.Shape, rewrite int, now map[string]waybill.Partition) string {
	switch {
	case len(t.Refused) > 0:
		return "its rows are not in the log: " + strings.Join(t.Refused, "; ")
	case len(t.Filled) > 0 && s.Before == nil:
		return "it held rows before it was followed (" + d.event.tag + ")"
	case len(t.Filled) > 0 && len(t.Joined) > 0:
		return "it held rows before the log carried them"
	case s.Before == nil && (!slices.Contains(creations, d.event.tag) || len(now) > 0): // CREATE TABLE ... PARTITION OF makes the partition only
		return "it was there before it was followed (" + d.event.tag + ")"
	case s.Before == nil:
		return ""
	case rewrite&rewriteColumn != 0 && !d.plainCast(s):
		return "a change of type wrote its rows anew"
	case rewrite&rewriteDefault != 0 && hasWrittenAddition(s):
		return "a new column got values that only the source knows"
	}
	was := partIDs(s.Before.Partitions)
	for _, id := range t.Filled {
		part, isPart := now[id]
		if _, old := was[id]; isPart && !old {
			return "partition " + part.Table.String() + " came with rows"
		}
	}
	return ""
}

// hasWrittenAddition reports whether a column was added whose values the target cannot compute.
func hasWrittenAddition(s *waybill.Shape) bool {
	return slices.ContainsFunc(s.After.Columns, func(c waybill.Column) bool { return c.Writable() && columnByID(s.Before, c.ID) < 0 })
}

var (
	alterOnly     = regexp.MustCompile(`(?is)^\s*alter\s+table\s[^;]*;?\s*$`)
	usesUsing     = regexp.MustCompile(`(?i)using`)
	numericTypes  = regexp.MustCompile(`^(smallint|integer|bigint|numeric(\(\d+,-?\d+\))?)$`)
	characterType = regexp.MustCompile(`^(text|character varying(\(\d+\))?|character\(\d+\))$`)
)

// plainCast reports whether the values after a change of type are those of the server's own cast, which the
// target makes alike: the statement is known to be nothing but ALTER TABLE without USING, and the cast
// depends on no setting of the session.
func (d *derivation) plainCast(s *waybill.Shape) bool {
	changed, computed := 0, 0
	known := alterOnly.MatchString(d.event.statement) && !usesUsing.MatchString(d.event.statement)
	for _, c := range s.After.Columns {
		i := columnByID(s.Before, c.ID)
		if i < 0 || s.Before.Columns[i].Type.Native == c.Type.Native {
			continue
		}
		changed++
		from, to := s.Before.Columns[i].Type.Native, c.Type.Native
		switch {
		case !c.Writable():
			computed++
		case !known || !plainTypes(from, to):
			return false
		}
	}
	return known && changed > 0 || changed > 0 && changed == computed
}

// plainTypes reports whether a cast between types is the same in every session.
func plainTypes(from, to string) bool {
	return numericTypes.MatchString(from) && numericTypes.MatchString(to) || characterType.MatchString(from) && characterType.MatchString(to)
}

func columnByID(v *waybill.TableVersion, id int) int {
	return slices.IndexFunc(v.Columns, func(c waybill.Column) bool { return c.ID == id })
}

func namesOf(v *waybill.TableVersion, columns []int) []string {
	var names []string
	for _, i := range columns {
		names = append(names, v.Columns[i].Name)
	}
	return names
}

// partIDs returns all partitions below a table by their ID.
func partIDs(p *waybill.Partitioning) map[string]waybill.Partition {
	found := map[string]waybill.Partition{}
	if p == nil {
		return found
	}
	for _, part := range p.Parts {
		found[part.ID] = part
		maps.Copy(found, partIDs(part.Nested))
	}
	return found
}

// withoutPart returns the tree without one partition, and whether it was there.
func withoutPart(p *waybill.Partitioning, id string) (*waybill.Partitioning, bool) {
	if p == nil {
		return nil, false
	}
	rest, found := &waybill.Partitioning{By: p.By}, false
	for _, part := range p.Parts {
		if part.ID == id {
			found = true
			continue
		}
		nested, inside := withoutPart(part.Nested, id)
		if inside {
			part.Nested, found = nested, true
		}
		rest.Parts = append(rest.Parts, part)
	}
	return rest, found
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
)

// settingExisting is the setting that says what to do with tables that have rows which this stream did not
// bring: stop or truncate.
const settingExisting = "on_existing"

// owner is what the control tables say about a table's rows, over all streams.
type owner struct {
	stream  string // that has it as copied, other than this one
	ours    bool   // rows may be emptied: they are leftovers of a copy, or were forgotten
	created bool   // the table itself was made by a copy that did not end
}

// Prepare makes sure that the tables exist with these structures, and for a copy that they are empty.
func (s *sink) Prepare(ctx context.Context, versions []*waybill.TableVersion, forCopy bool) error {
	if err := s.idleSession(); err != nil {
		return err
	}
	names := make([]waybill.TableName, len(versions))
	for i, v := range versions {
		names[i] = v.Table
	}
	existing, err := s.describeTargets(ctx, names)
	if err == nil && forCopy {
		var dropped bool
		if dropped, err = s.dropLeftovers(ctx, versions, existing); dropped && err == nil {
			existing, err = s.describeTargets(ctx, names) // what was dropped may have had partitions of these names
		}
	}
	if err != nil {
		return err
	}
	if forCopy {
		if err := s.extendEnums(ctx, versions); err != nil {
			return err
		}
	}
	var problems []error
	for i, v := range versions {
		s.forgetTarget(v.Table)
		if err := s.prepare(ctx, v, existing[i], forCopy); err != nil {
			if waybill.FaultOf(err) != waybill.Drift && waybill.FaultOf(err) != waybill.Setup {
				return err
			}
			problems = append(problems, err)
		}
	}
	return joinProblems(problems)
}

func (s *sink) describeTargets(ctx context.Context, names []waybill.TableName) ([]*waybill.TableVersion, error) {
	existing, err := describe(ctx, s.session.conn, names)
	if err != nil {
		return nil, classify("look at the tables of the target", waybill.TableName{}, err)
	}
	return existing, nil
}

// dropLeftovers drops tables that an unfinished copy made and that are in the way of this one: the source's
// table has changed since, or has become a partition of another. Those that this stream's own copy made and
// that are wanted no more go too: their tables have other names by now, or none.
func (s *sink) dropLeftovers(ctx context.Context, versions, existing []*waybill.TableVersion) (dropped bool, err error) {
	drop := func(table waybill.TableName) error {
		own, err := s.owner(ctx, table)
		if err != nil || !own.created {
			return err
		}
		dropped = true
		return s.transact(ctx, "drop leftover", table, "DROP TABLE IF EXISTS "+quoteTable(table), forgetSQL(s.options.Stream, table))
	}
	unwanted, err := s.unwanted(ctx, versions)
	if err != nil {
		return false, err
	}
	for _, table := range unwanted {
		if err := drop(table); err != nil {
			return dropped, err
		}
	}
	for i, v := range versions {
		if existing[i] != nil && (len(differences(existing[i], v)) > 0 || partLeft(existing[i], v)) {
			if err := drop(v.Table); err != nil {
				return dropped, err
			}
		}
		for _, part := range partIDs(v.Partitions) {
			if err := drop(part.Table); err != nil {
				return dropped, err
			}
		}
	}
	return dropped, nil
}

// unwanted lists the tables that this stream's unfinished copy made and that are not to be copied now.
func (s *sink) unwanted(ctx context.Context, versions []*waybill.TableVersion) ([]waybill.TableName, error) {
	rows, err := query(ctx, s.session.conn, "SELECT schema_name, table_name FROM waybill.copied WHERE stream = $1 AND state = $2 AND created",
		s.options.Stream, stateCopying)
	if err != nil {
		return nil, classify("look for leftovers of a copy", waybill.TableName{}, err)
	}
	var unwanted []waybill.TableName
	for _, row := range rows {
		name := waybill.TableName{Schema: string(row[0]), Name: string(row[1])}
		if !slices.ContainsFunc(versions, func(v *waybill.TableVersion) bool { return v.Table == name }) {
			unwanted = append(unwanted, name)
		}
	}
	return unwanted, nil
}

// partLeft reports whether the target's table has a partition that the source's has no more.
func partLeft(existing, wanted *waybill.TableVersion) bool {
	now := map[waybill.TableName]bool{}
	for _, part := range partIDs(wanted.Partitions) {
		now[part.Table] = true
	}
	for _, part := range partIDs(existing.Partitions) {
		if !now[part.Table] {
			return true
		}
	}
	return false
}

// joinProblems gives all tables' problems at once, under the class and hint of the first.
func joinProblems(problems []error) error {
	if len(problems) < 2 {
		return errors.Join(problems...)
	}
	return &waybill.Error{Op: fmt.Sprintf("prepare %d tables at the target", len(problems)), Fault: waybill.FaultOf(problems[0]),
		Hint: waybill.HintOf(problems[0]), Err: errors.Join(problems...)}
}

func (s *sink) prepare(ctx context.Context, v, existing *waybill.TableVersion, forCopy bool) error {
	if existing == nil {
		return s.create(ctx, v, forCopy)
	}
	if !forCopy {
		return s.refuseDifferences(existing, v)
	}
	own, err := s.owner(ctx, v.Table)
	if err != nil {
		return err
	}
	if err := s.refuseDifferences(existing, v); err != nil {
		return err
	}
	if err := s.mayEmpty(ctx, v.Table, own); err != nil {
		return err
	}
	return s.empty(ctx, v)
}

func (s *sink) refuseDifferences(existing, wanted *waybill.TableVersion) error {
	found := differences(existing, wanted)
	if len(found) == 0 {
		return nil
	}
	return &waybill.Error{Op: "prepare", Table: wanted.Table, Fault: waybill.Drift,
		Err:  fmt.Errorf("the target's table is another than the source's: %s", strings.Join(found, "; ")),
		Hint: "make the target's table equal, or drop or rename it there and let the link create it"}
}

func (s *sink) create(ctx context.Context, v *waybill.TableVersion, forCopy bool) error {
	statements := createStatements(v)
	if forCopy {
		record, err := recordSQL(s.options.Stream, v, stateCopying, true, "")
		if err != nil {
			return err
		}
		statements = append(statements, record)
	}
	return s.transact(ctx, "create", v.Table, statements...)
}

// owner reads what is recorded of a table. The newest stream that copies it may empty it.
func (s *sink) owner(ctx context.Context, table waybill.TableName) (owner, error) {
	rows, err := query(ctx, s.session.conn, "SELECT stream, state, created FROM waybill.copied WHERE schema_name = $1 AND table_name = $2",
		table.Schema, table.Name)
	if err != nil {
		return owner{}, classify("look up", table, err)
	}
	var own owner
	for _, row := range rows {
		stream, state := string(row[0]), string(row[1])
		switch {
		case state == stateCopied && stream != s.options.Stream:
			own.stream = stream
		case state != stateCopied:
			own.ours = true
			own.created = own.created || state == stateCopying && isTrue(row[2])
		}
	}
	return own, nil
}

// mayEmpty refuses to empty a table of rows that are not ours to remove.
func (s *sink) mayEmpty(ctx context.Context, table waybill.TableName, own owner) error {
	if own.stream != "" {
		return &waybill.Error{Op: "prepare", Table: table, Fault: waybill.Setup,
			Err:  fmt.Errorf("stream %s has copied this table to the target already", own.stream),
			Hint: "leave the table out of one of the links, or release that stream (waybill link drop)"}
	}
	if own.ours {
		return nil
	}
	rows, err := query(ctx, s.session.conn, "SELECT EXISTS (SELECT FROM "+quoteTable(table)+")")
	if err != nil {
		return classify("look for rows in", table, err)
	}
	if !isTrue(rows[0][0]) {
		return nil
	}
	switch existing := s.endpoint.Settings[settingExisting]; existing {
	case "truncate":
		return nil
	case "", "stop":
		return &waybill.Error{Op: "prepare", Table: table, Fault: waybill.Drift, Err: errors.New("the target's table has rows that this link did not bring"),
			Hint: "empty the table, or set " + settingExisting + ": truncate at the target's endpoint to let the link empty it"}
	default:
		return &waybill.Error{Op: "prepare", Table: table, Fault: waybill.Setup,
			Err: fmt.Errorf("setting %s: %q is not known", settingExisting, existing), Hint: "use stop or truncate"}
	}
}

// empty removes all rows and records that the table is being copied. Where foreign keys of other tables
// forbid a TRUNCATE, rows are deleted.
func (s *sink) empty(ctx context.Context, v *waybill.TableVersion) error {
	record, err := recordSQL(s.options.Stream, v, stateCopying, false, "")
	if err != nil {
		return err
	}
	table := quoteTable(v.Table)
	loaded := "DELETE FROM waybill.loaded WHERE stream = " + quoteLiteral(s.options.Stream) + " AND schema_name = " +
		quoteLiteral(v.Table.Schema) + " AND table_name = " + quoteLiteral(v.Table.Name)
	err = s.transact(ctx, "empty", v.Table, "TRUNCATE "+table, loaded, record)
	if sqlState(err) == "0A000" {
		err = s.transact(ctx, "empty", v.Table, "DELETE FROM "+table, loaded, record)
	}
	return err
}

// Forget lets a table be copied again: its rows stay until then, and may then be emptied. Its structure stays
// on record, for the table is made to fit what it is copied from.
func (s *sink) Forget(ctx context.Context, table waybill.TableName) error {
	if err := s.idleSession(); err != nil {
		return err
	}
	where := " WHERE stream = " + quoteLiteral(s.options.Stream) + " AND schema_name = " + quoteLiteral(table.Schema) +
		" AND table_name = " + quoteLiteral(table.Name)
	return s.transact(ctx, "forget", table, "DELETE FROM waybill.loaded"+where,
		"UPDATE waybill.copied SET state = '"+stateForgotten+"', created = false, position = '', updated_at = clock_timestamp()"+where)
}

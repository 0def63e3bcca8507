package postgres

import (
	"context"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// A table is in the publication from the command that creates it: rows of the same transaction are in the log.
func TestNewTableIsCarriedFromItsFirstRow(t *testing.T) {
	eachMajor(t, testMajors, func(t *testing.T, major int) {
		r := capturedRig(t, major, barrierTable)
		r.open()
		r.exec("BEGIN; CREATE TABLE n (id int PRIMARY KEY); INSERT INTO n VALUES (1); ALTER TABLE n ADD b text; INSERT INTO n VALUES (2, 'x'); COMMIT",
			"INSERT INTO n VALUES (3, 'y')")
		r.barrier()
		r.expect("reshape n | create table public.n ", "insert n (1)", "reshape n | add column b text", "insert n (2, x)", "insert n (3, y)")
	})
}

// A label of an enum can be used in the transaction of the target that follows the one that added it, and
// where one transaction of the target carries both.
func TestLabelsAreThereBeforeTheirFirstRow(t *testing.T) {
	for _, major := range testMajors {
		url := dbtest.Database(t, major)
		source, target := session(t, captured(t, major)), session(t, url)
		run(t, source, "CREATE TYPE public.mood AS ENUM ('a')", "CREATE TABLE public.t (id int PRIMARY KEY, m public.mood)")
		f := follow(t, source)
		build(t, source, target, f.known)
		run(t, source, "ALTER TYPE public.mood ADD VALUE 'b'")
		run(t, target, "BEGIN")
		side := &sink{}
		side.session.conn, side.idle = target, append(side.idle, session(t, url))
		for _, s := range f.next() {
			if err := side.runAhead(context.Background(), s); err != nil {
				t.Fatal(err)
			}
			statements, err := reshapeStatements(s)
			if err != nil {
				t.Fatal(err)
			}
			run(t, target, statements...)
		}
		run(t, target, "INSERT INTO public.t VALUES (1, 'b')", "COMMIT")
		expectAlike(t, "after the transaction", source, target, map[waybill.TableName]bool{{Schema: "public", Name: "t"}: true})
	}
}

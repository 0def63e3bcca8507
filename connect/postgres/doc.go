// Package postgres connects PostgreSQL, versions 10 to 18, in all roles: view, change source and sink.
//
// Values travel as the server's text under pinned session settings, for the first copy and for the stream
// alike, so both give the same [waybill.Value] by construction. Changes are decoded from pgoutput by
// package pgoutput. Structure changes arrive through an event table in the same log (see capture.sql). The
// target keeps positions, copied tables and table versions in schema "waybill" in the same transaction as
// the rows (invariants 1, 3 and 5).
package postgres

// Package compare proves that tables at two endpoints hold the same rows, or says which rows differ.
//
// [Run] digests every table once at each of two [waybill.View]s: rows in any order, from several readers, undecoded
// where both sides speak one encoding ([waybill.RawReader]). A row is hashed whole, key included, every field with its
// length and NULL marked, into 128 bits, and its cell adds up both halves: sums, so equal rows count. Cells that are
// equal prove their rows equal. Nothing is ever told from a digest: where cells differ, their rows are read, by ranges
// of the key where it begins with an integer or UUID ([waybill.Narrower]), and merged in the order of
// [waybill.CompareKeys] value by value. Small tables are merged at once. Memory is bounded by the digests, a few
// batches for each side and table, and suspects that spill (invariant 7).
//
// Two values are equal when they are identical in kind and content: a copy must be identical, so the rules
// are those of identity, not those of a database's "=" operator.
//
//   - NULL equals NULL and nothing else; it is not an empty text.
//   - Texts are equal byte for byte: case, trailing spaces and Unicode normal forms count.
//   - Decimals are equal with equal scale: 1.0 and 1.00 differ. NaN equals NaN.
//   - Floats are equal bit for bit: 0 and -0 differ. NaN equals NaN.
//   - Points in time are equal when they are the same instant, whatever zone they were written in. A time of
//     day with a zone also has its offset compared.
//   - JSON is equal as the system prints it: json byte for byte, jsonb in its normal form.
//   - Everything held as a literal (arrays, ranges, enums, composites, ...) is equal as the system prints it.
//   - Where a column's kinds differ between the two sides, which is a difference of structure and reported as
//     one, its values are compared in their printed form.
//
// A [Rule] makes other values of a column equal; the result says which column had one.
//
// Columns are paired by name. Rows are paired by the source's key. A table without a key is a bag of rows: a
// row that is n times at one side must be n times at the other. Rows are never paired by a hash.
//
// Where nothing makes the two views one moment, [Options.Again] has what differs read again until both sides stand
// still there: what is equal then was in flight, what still differs is told, what never stood still leaves the
// table [Unsettled].
package compare

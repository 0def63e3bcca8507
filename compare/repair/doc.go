// Package repair makes the rows of a target equal to those of its source where a comparison found them different.
//
// [Find] compares the tables anew and keeps where rows differ, in a file when there are many: the places, not the
// rows. [Found.Plan] writes what a repair would do as statements. [Run] does it: a batch of places at a time it
// opens both sides at one moment, reads the rows at those places again, writes an undo file, and has the target's
// [waybill.Sink] apply what still differs in one transaction. Afterwards it reads every place once more.
//
//   - The source is never written.
//   - A row of the target is deleted only where the source, read after the comparison and right before the
//     write, does not have it; where there is no key, exactly as many equal rows as there are too many.
//   - Nothing is kept between runs. A repair that was killed is run again: it finds what is left.
//   - Memory is bounded by a batch, whatever the number of differences (invariant 7).
//   - What a row displaces (unique values that changed places, references) may be in another batch: rows that the
//     target refuses wait, and are tried together in one transaction at the end.
package repair

package waybill

import (
	"context"
	"iter"
)

// Picker is a View that can read single rows without reading the rest, where the system has an index.
type Picker interface {
	// Pick reads every row that has one of the given places, each with one value per given column. It may give
	// other rows too, so the caller compares. A row comes once, whatever the places are.
	Pick(ctx context.Context, v *TableVersion, columns []int, places []Row) iter.Seq2[Batch, error]
}

// Correction is what makes rows of a target what they should be. Where the version has a key it is about one
// row: Before is the row as it is, nil where there is none, After as it shall be, nil where there shall be none.
// Where it has none, Before and After are the same row, of which there are Was and shall be Wanted.
type Correction struct {
	Version     *TableVersion
	Before      Row
	After       Row
	Was, Wanted int64
}

// Inverse returns what takes the correction back.
func (c Correction) Inverse() Correction {
	c.Before, c.After, c.Was, c.Wanted = c.After, c.Before, c.Wanted, c.Was
	return c
}

// Statements writes corrections in the words of a system, for people to read and run. Values are exact. A
// statement does nothing where the target is no longer as the correction says, so each may be run twice.
type Statements struct {
	// Begin opens a transaction with the settings that the literals rely on, End commits it.
	Begin, End string
	// Append appends one statement with its end of line.
	Append func(dst []byte, c Correction) ([]byte, error)
	// Comment appends a line that does nothing.
	Comment func(dst []byte, text string) []byte
}

package waybill

import "context"

// RawReader is a View that can give rows as the system sends them, which costs a fraction of Read.
type RawReader interface {
	// Encoding names the form that ReadRaw gives these columns in; empty where there is none. Under equal
	// encodings equal bytes are identical values, whichever view they came from. The reverse need not hold.
	Encoding(v *TableVersion, columns []int) Format
	// ReadRaw calls row with each row of a slice, columns as given: for each a big-endian 32-bit length, -1
	// for NULL, and so many bytes; a KindInt is big-endian, two's complement, of 2, 4 or 8 bytes. The bytes
	// are valid during the call.
	ReadRaw(ctx context.Context, s Slice, columns []int, row func(raw []byte) error) error
}

// Locator is a RawReader that can tell where a row lies and read it there again.
type Locator interface {
	// ReadLocated is ReadRaw with where each row lies, which is valid during the call, too.
	ReadLocated(ctx context.Context, s Slice, columns []int, row func(raw, at []byte) error) error
	// Located returns the rows of a slice that lie where ReadLocated said; false where the table has no such places.
	Located(s Slice, at [][]byte) (Slice, bool)
}

// Part says which rows of a table are meant. The zero Part is all of them.
type Part struct {
	Column string  // its ranges are meant; NULL is in none of them
	Ranges []Range // in any order
	Where  string  // a condition in the system's own language, which must hold too
}

// Range is a range of values. A zero Value leaves it open at that end.
type Range struct {
	From Value // included
	To   Value // not included
}

// Narrower is a View that can read parts of tables without reading the rest where the system has an index.
type Narrower interface {
	// Narrow returns the rows of a slice that are also in the part.
	Narrow(s Slice, p Part) (Slice, error)
	// Bounds returns the least and the greatest value of a column in a slice; Null where there is none.
	Bounds(ctx context.Context, s Slice, column string) (low, high Value, err error)
}

// Counter is a View that can count rows without reading them all.
type Counter interface {
	Count(ctx context.Context, s Slice) (int64, error)
}

package waybill

// Row holds one Value per column of its table version, in the version's order.
type Row []Value

// Clone returns a row that shares no memory with r.
func (r Row) Clone() Row {
	c := make(Row, len(r))
	for i, v := range r {
		c[i] = v.Clone()
	}
	return c
}

// Batch is a run of rows of one table version. A batch and its rows are valid until the next step of the
// iterator that gave it: who keeps them clones them.
type Batch struct {
	Version *TableVersion
	Rows    []Row
}

// Slice is one piece of a table: read, moved, compared and retried as a unit. The slices that a View gives
// for a table cover each of its rows exactly once.
type Slice struct {
	Version *TableVersion
	Number  int    // 0, 1, ... within its table
	Range   string // what is in the slice, in the connector's own words; printable; empty for the whole table
	Rows    int64  // estimate; 0 when unknown
	Ordered bool   // Read gives the rows in the order of CompareKeys
}

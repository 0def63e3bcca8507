package waybill

import (
	"cmp"
	"math/big"
	"strings"
)

// CompareKeys orders two rows by the given columns, the order that a Slice with Ordered is read in: NULL
// last, false before true, numbers by value with NaN last, times by value, everything held as text by its
// bytes. It is the same in every connector and every locale.
func CompareKeys(a, b Row, columns []int) int {
	for _, c := range columns {
		if order := compareValues(a[c], b[c]); order != 0 {
			return order
		}
	}
	return 0
}

// OrderColumns returns the columns that an ordered slice of the version is ordered by: its key, or all.
func (v *TableVersion) OrderColumns() []int {
	if len(v.Key) > 0 {
		return v.Key
	}
	all := make([]int, len(v.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

func compareValues(a, b Value) int {
	if a.kind == KindNull || b.kind == KindNull {
		return cmp.Compare(rank(a), rank(b))
	}
	switch {
	case a.kind != b.kind:
		return cmp.Compare(a.kind, b.kind)
	case a.kind == KindUint || a.kind == KindBool:
		return cmp.Compare(a.n, b.n)
	case a.kind == KindFloat32 || a.kind == KindFloat64:
		return compareFloats(a.Float(), b.Float())
	case a.kind == KindDecimal:
		return compareDecimals(a.s, b.s)
	}
	if order := cmp.Compare(a.Int(), b.Int()); order != 0 {
		return order
	}
	return strings.Compare(a.s, b.s)
}

func rank(v Value) int {
	if v.kind == KindNull {
		return 1
	}
	return 0
}

func compareFloats(a, b float64) int {
	aNaN, bNaN := a != a, b != b
	switch {
	case aNaN && bNaN:
		return 0
	case aNaN:
		return 1
	case bNaN:
		return -1
	}
	return cmp.Compare(a, b)
}

// decimalRank places the decimals that are no numbers: -Infinity, finite, Infinity, NaN.
func decimalRank(s string) int {
	switch s {
	case "-Infinity":
		return -1
	case "Infinity":
		return 1
	case "NaN":
		return 2
	}
	return 0
}

func compareDecimals(a, b string) int {
	ra, rb := decimalRank(a), decimalRank(b)
	if ra != 0 || rb != 0 {
		return cmp.Compare(ra, rb)
	}
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	if !okX || !okY {
		return strings.Compare(a, b)
	}
	return x.Cmp(y)
}

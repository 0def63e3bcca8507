package compare_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
)

// counted is what a plain count of rows says of two tables.
func counted(source, target []waybill.Row) (missing, extra int64) {
	count := map[[2]waybill.Value]int64{}
	for _, r := range source {
		count[[2]waybill.Value(r)]++
	}
	for _, r := range target {
		count[[2]waybill.Value(r)]--
	}
	for _, n := range count {
		missing, extra = missing+max(n, 0), extra+max(-n, 0)
	}
	return missing, extra
}

var hardValues = []waybill.Value{waybill.Null, waybill.TextValue(""), waybill.TextValue("a"), waybill.TextValue("ab"),
	waybill.DecimalValue("1"), waybill.DecimalValue("1.0"), waybill.DecimalValue("1.00")}

// TestRandomBags compares tables without keys, with digests and without, with what a plain count of rows says.
func TestRandomBags(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom(hardValues)
		side := func(name string) *fake {
			v := keyed(waybill.KindText, waybill.KindText)
			v.Key = nil
			row := rapid.Custom(func(t *rapid.T) waybill.Row { return waybill.Row{value.Draw(t, "a"), value.Draw(t, "b")} })
			rows := rapid.SliceOfN(row, 0, 30).Draw(t, name)
			slices.SortFunc(rows, func(a, b waybill.Row) int { return waybill.CompareKeys(a, b, []int{0, 1}) })
			return &fake{version: v, rows: rows, batch: rapid.IntRange(1, 7).Draw(t, "batch")}
		}
		source, target := side("source"), side("target")
		got := bothWays(t, source, target)
		missing, extra := counted(source.rows, target.rows)
		if got.Missing != missing || got.Extra != extra || got.SourceRows != int64(len(source.rows)) || got.TargetRows != int64(len(target.rows)) {
			t.Fatalf("%+v, want %d missing, %d extra", got, missing, extra)
		}
	})
}

// TestRandomKeys has a key and does to some rows of the target what links have done to theirs.
func TestRandomKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := keyed(waybill.KindInt, waybill.KindText)
		v.Columns[0].NotNull = rapid.Bool().Draw(t, "not null")
		value := rapid.SampledFrom(hardValues)
		keys := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-20, 20)), 0, 40, rapid.ID).Draw(t, "keys")
		slices.Sort(keys)
		var a []waybill.Row
		for _, k := range keys {
			a = append(a, waybill.Row{waybill.IntValue(k), value.Draw(t, "value")})
		}
		b := harm(t, a, value)
		batch := rapid.IntRange(1, 7).Draw(t, "batch")
		got := bothWays(t, &fake{version: v, rows: a, batch: batch}, &fake{version: v, rows: b, batch: batch})
		missing, extra := counted(a, b)
		if got.Missing+got.Changed != missing || got.Extra+got.Changed != extra {
			t.Fatalf("%+v, want %d missing and %d extra where a changed row is both", got, missing, extra)
		}
	})
}

// harm returns a copy of the rows in which some differ, ordered by key.
func harm(t *rapid.T, rows []waybill.Row, value *rapid.Generator[waybill.Value]) []waybill.Row {
	var harmed []waybill.Row
	for _, r := range rows {
		harmed = append(harmed, slices.Clone(r))
	}
	for range rapid.IntRange(0, 4).Draw(t, "harms") {
		if len(harmed) < 2 {
			break
		}
		i := rapid.IntRange(0, len(harmed)-1).Draw(t, "row")
		j := rapid.IntRange(0, len(harmed)-1).Draw(t, "other")
		switch rapid.SampledFrom([]string{"value", "delete", "swap values", "move", "twice"}).Draw(t, "how") {
		case "value":
			harmed[i][1] = value.Draw(t, "value")
		case "delete":
			harmed = slices.Delete(harmed, i, i+1)
		case "swap values":
			harmed[i][1], harmed[j][1] = harmed[j][1], harmed[i][1]
		case "move":
			harmed[i][0] = waybill.IntValue(harmed[i][0].Int() + 1)
		case "twice":
			harmed = append(harmed, slices.Clone(harmed[i]))
		}
	}
	slices.SortStableFunc(harmed, func(a, b waybill.Row) int { return waybill.CompareKeys(a, b, []int{0}) })
	return harmed
}

// bothWays compares by a merge alone, by digests of values, and by digests of what was not decoded.
func bothWays(t *rapid.T, source, target *fake) compare.TableResult {
	var results []compare.TableResult
	readers := rapid.IntRange(1, 3).Draw(t, "readers")
	for _, way := range []struct {
		direct   int64
		encoding waybill.Format
	}{{1 << 40, ""}, {-1, ""}, {-1, "raw"}} {
		source.rules, target.rules = way.encoding, way.encoding
		result, err := compare.Run(context.Background(), compare.Options{Source: source, Target: target, Direct: way.direct, Readers: readers})
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, result.Tables[0])
	}
	for _, other := range results[1:] {
		if diff := cmp.Diff(results[0], other, untimed); diff != "" {
			t.Fatalf("without and with digests (-without +with):\n%s", diff)
		}
	}
	return results[0]
}

package compare_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/compare"
	"github.com/waybill-data/waybill/internal/dbtest"
)

// BenchmarkMerge is the engine alone, on equal narrow rows in memory.
func BenchmarkMerge(b *testing.B) {
	v := keyed(waybill.KindInt, waybill.KindInt, waybill.KindInt, waybill.KindText)
	rows := make([]waybill.Row, b.N)
	for i := range rows {
		rows[i] = waybill.Row{waybill.IntValue(int64(i)), waybill.IntValue(1), waybill.IntValue(0), waybill.TextValue("twenty bytes of text")}
	}
	side := func() *fake { return &fake{version: v, rows: rows, batch: 1000} }
	b.ReportAllocs()
	b.ResetTimer()
	result, err := compare.Run(context.Background(), compare.Options{Source: side(), Target: side()})
	if err != nil || !result.Equal() {
		b.Fatal(result, err)
	}
}

// BenchmarkTables is a comparison of two tables on one server, rows like pgbench's.
func BenchmarkTables(b *testing.B) {
	url := dbtest.Database(b, 15)
	dbtest.Exec(b, url, "CREATE TABLE a (id int PRIMARY KEY, b int, c int, t char(84))",
		fmt.Sprintf("INSERT INTO a SELECT g, 1, 0, '' FROM generate_series(1, %d) g", b.N), "VACUUM ANALYZE a")
	b.ResetTimer()
	result, err := compare.Run(context.Background(), compare.Options{Source: open(b, url), Target: open(b, url)})
	if err != nil || !result.Equal() {
		b.Fatal(result, err)
	}
}

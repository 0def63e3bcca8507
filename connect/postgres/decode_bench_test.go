package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/postgres/pgoutput"
)

// BenchmarkStream decodes a recorded pgbench stream as the reader does, into slabs that are delivered and used again.
func BenchmarkStream(b *testing.B) {
	content, err := os.ReadFile("pgoutput/testdata/pgbench.bin")
	if err != nil {
		b.Fatal(err)
	}
	var messages [][]byte
	for len(content) > 0 {
		size := 4 + int(binary.BigEndian.Uint32(content))
		messages = append(messages, content[4:size])
		content = content[size:]
	}
	r := &reader{slabs: newSlabs(), shapes: newShapes(waybill.ChangeOptions{}, nil), spilled: newOpenTransactions(b.TempDir(), "x"),
		durable: &atomic.Uint64{}, log: logOf(nil)}
	for _, v := range benchVersions(b, messages, r.shapes) {
		if err := r.shapes.follow(v); err != nil {
			b.Fatal(err)
		}
	}
	ctx, changes := context.Background(), 0
	r.slab = r.slabs.fresh()
	b.ReportAllocs()
	for b.Loop() {
		for _, message := range messages {
			if err := r.replicated(ctx, message); err != nil {
				b.Fatal(err)
			}
		}
		changes += len(r.slab.changes)
		r.slabs.release(r.slab)
		r.slab = r.slabs.fresh()
	}
	b.ReportMetric(float64(changes)/b.Elapsed().Seconds(), "changes/s")
}

// benchVersions makes the versions that the recorded relation messages are about.
func benchVersions(b *testing.B, messages [][]byte, h *shapes) []*waybill.TableVersion {
	natives := map[uint32]string{23: "integer", 1042: "character", 1114: "timestamp without time zone"}
	var versions []*waybill.TableVersion
	var d pgoutput.Decoder
	var m pgoutput.Message
	for _, message := range messages {
		if err := d.Decode(message, &m); err != nil {
			b.Fatal(err)
		}
		if m.Type != pgoutput.Relation {
			continue
		}
		v := &waybill.TableVersion{Table: waybill.TableName{Schema: string(m.Namespace), Name: string(m.Name)}, ID: fmt.Sprint(m.OID),
			Identity: waybill.IdentityKey}
		if m.Identity == pgoutput.IdentityFull {
			v.Identity = waybill.IdentityFull
		}
		for i, c := range m.Columns {
			native, ok := natives[c.Type]
			if !ok {
				b.Fatalf("column %s has type %d", c.Name, c.Type)
			}
			h.native[typeID{c.Type, c.Mod}] = native
			v.Columns = append(v.Columns, waybill.Column{ID: i + 1, Name: string(c.Name), Type: typeOf(native, native)})
			if c.Key && v.Identity == waybill.IdentityKey {
				v.Key = append(v.Key, i)
			}
		}
		versions = append(versions, v)
	}
	return versions
}

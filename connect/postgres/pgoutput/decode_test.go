package pgoutput

import (
	"os"
	"strings"
	"testing"
)

// TestRecordedMessages decodes what a real server sent and compares with what it was seen to mean.
func TestRecordedMessages(t *testing.T) {
	var d Decoder
	var m Message
	var lines []string
	types := map[Type]bool{}
	for i, input := range load(t, "everything.bin") {
		if err := d.Decode(input, &m); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		types[m.Type] = true
		if line := printMessage(&m); len(lines) == 0 || lines[len(lines)-1] != line {
			lines = append(lines, line)
		}
	}
	for _, want := range "BCRYIUDTMSEcAbPKrp" {
		if !types[Type(want)] {
			t.Errorf("no message of type %c was recorded", want)
		}
	}
	got := strings.Join(lines, "\n") + "\n"
	if *record {
		if err := os.WriteFile("testdata/everything.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/everything.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("decoded\n%s\nwant\n%s", got, want)
	}
}

// TestTruncatedMessages cuts every recorded message at every byte: an error, never a panic, never half a message.
func TestTruncatedMessages(t *testing.T) {
	var d Decoder
	var m Message
	for _, input := range load(t, "everything.bin") {
		before := d
		for cut := range input {
			probe := before
			withoutPlace := input[0] == 'A' && cut == 9 // an abort as older protocols have it
			if err := probe.Decode(input[:cut], &m); err == nil && !withoutPlace {
				t.Fatalf("%q cut at %d decodes as %s", input, cut, printMessage(&m))
			}
		}
		probe := before
		if err := probe.Decode(append(input[:len(input):len(input)], 0), &m); err == nil {
			t.Fatalf("%q with a byte more decodes as %s", input, printMessage(&m))
		}
		if err := d.Decode(input, &m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestForeignMessagesAreRefused(t *testing.T) {
	for _, input := range []string{"", "x", "I\x00\x00\x00\x01X\x00\x00", "I\x00\x00\x00\x01N\x00\x01t\xff\xff\xff\xff", "I\x00\x00\x00\x01N\x00\x01q",
		"U\x00\x00\x00\x01Z\x00\x00", "D\x00\x00\x00\x01N\x00\x00", "T\xff\xff\xff\xff\x00", "C\x01aaaaaaaabbbbbbbbcccccccc", "Y\x00\x00\x00\x01no end"} {
		var m Message
		if err := new(Decoder).Decode([]byte(input), &m); err == nil {
			t.Errorf("%q decodes as %s", input, printMessage(&m))
		}
	}
}

func TestAbortWithItsPlace(t *testing.T) {
	var m Message
	input := append([]byte{'A', 0, 0, 0, 9, 0, 0, 0, 8}, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 5)
	if err := new(Decoder).Decode(input, &m); err != nil || m.XID != 9 || m.Sub != 8 || m.LSN != 0x102 || m.Time != microsTo2000+5 {
		t.Errorf("abort: %+v, %v", m, err)
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	messages := load(t, "pgbench.bin")
	var d Decoder
	var m Message
	allocated := testing.AllocsPerRun(3, func() {
		for _, input := range messages {
			if err := d.Decode(input, &m); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocated != 0 {
		t.Errorf("%v allocations for %d messages", allocated, len(messages))
	}
}

func FuzzDecode(f *testing.F) {
	for _, input := range load(f, "everything.bin") {
		f.Add(input, false)
		f.Add(input, true)
	}
	f.Fuzz(func(t *testing.T, input []byte, inStream bool) {
		d := Decoder{InStream: inStream}
		var m Message
		if d.Decode(input, &m) != nil {
			return
		}
		for _, tuple := range []Tuple{m.Old, m.New} {
			fields, n := tuple.Fields(), 0
			for kind, text := fields.Next(); kind != 0; kind, text = fields.Next() {
				if n++; len(text) > len(input) {
					t.Fatal("field is longer than its message")
				}
			}
			if n != tuple.Len() {
				t.Fatalf("%d fields of %d", n, tuple.Len())
			}
		}
		printMessage(&m)
	})
}

func BenchmarkDecode(b *testing.B) {
	messages := load(b, "pgbench.bin")
	changes, size := 0, 0
	for _, input := range messages {
		size += len(input)
		if strings.IndexByte("IUD", input[0]) >= 0 {
			changes++
		}
	}
	var d Decoder
	var m Message
	b.SetBytes(int64(size))
	for b.Loop() {
		for _, input := range messages {
			if err := d.Decode(input, &m); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(changes)*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}

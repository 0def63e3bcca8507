package spill

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type record struct {
	tag  uint32
	text string
}

func read(t interface{ Fatal(...any) }, l *Log) []record {
	var got []record
	if err := l.Each(func(tag uint32, text []byte) error {
		got = append(got, record{tag, string(text)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRecordsComeBackInOrder(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		l := New(dir, "spill-*", rapid.IntRange(0, 64).Draw(t, "memory"))
		defer func() {
			if err := l.Discard(); err != nil {
				t.Error(err)
			}
		}()
		var want []record
		for i := range rapid.IntRange(0, 40).Draw(t, "records") {
			r := record{uint32(i), strings.Repeat("x", rapid.IntRange(0, 100).Draw(t, "size"))}
			if err := l.Append(r.tag, []byte(r.text)); err != nil {
				t.Fatal(err)
			}
			if want = append(want, r); i%7 == 0 && fmt.Sprint(read(t, l)) != fmt.Sprint(want) {
				t.Fatal("differs while it grows")
			}
		}
		if got := read(t, l); fmt.Sprint(got) != fmt.Sprint(want) || l.Records() != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestSmallLogsMakeNoFile(t *testing.T) {
	l := New(filepath.Join(t.TempDir(), "missing"), "spill-*", 100)
	if err := l.Append(1, []byte("fits")); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(2, make([]byte, 100)); err == nil {
		t.Error("a record that needs a file was taken without one")
	}
}

func TestCleanRemovesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"spill-a-1", "spill-a-2", "spill-b-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Clean(dir, "spill-a-*"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "spill-b-1" {
		t.Errorf("left: %v, %v", left, err)
	}
}

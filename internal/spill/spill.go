// Package spill keeps records that may not fit in memory: the first of them in a buffer, the rest in a file
// that only this process can see and that the system removes with it. A [Log] has one owner and is written,
// read as often as needed, and discarded.
package spill

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	header  = 8 // tag and length
	reading = 256 << 10
)

// Log is an append-only list of tagged records.
type Log struct {
	dir, pattern string
	buffer       []byte
	file         *os.File
	written      int64
	records      int
}

// New returns an empty log that holds up to memory bytes before it makes a file called by the pattern (see
// [os.CreateTemp]) in dir, or in the system's directory where dir is empty.
func New(dir, pattern string, memory int) *Log {
	return &Log{dir: dir, pattern: pattern, buffer: make([]byte, 0, memory)}
}

// Records returns how many records were added.
func (l *Log) Records() int { return l.records }

// Size returns how many bytes are kept, in memory and in the file.
func (l *Log) Size() int64 { return l.written + int64(len(l.buffer)) }

// Append adds a record; the bytes are copied. An error of the file, a full disk included, leaves the log unusable.
func (l *Log) Append(tag uint32, record []byte) error {
	if uint64(len(record)) > 1<<31 {
		return fmt.Errorf("spill: record of %d bytes", len(record))
	}
	if len(l.buffer)+header+len(record) > cap(l.buffer) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	var head [header]byte
	binary.BigEndian.PutUint32(head[:], tag)
	binary.BigEndian.PutUint32(head[4:], uint32(len(record)))
	l.records++
	if header+len(record) <= cap(l.buffer) {
		l.buffer = append(append(l.buffer, head[:]...), record...)
		return nil
	}
	return errors.Join(l.write(head[:]), l.write(record))
}

func (l *Log) flush() error {
	if err := l.open(); err != nil {
		return err
	}
	err := l.write(l.buffer)
	l.buffer = l.buffer[:0]
	return err
}

func (l *Log) open() error {
	if l.file != nil {
		return nil
	}
	file, err := os.CreateTemp(l.dir, l.pattern)
	if err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	// Without a name the file goes with the process, however that ends. Where the system cannot remove an
	// open file, Discard does it, and Clean what a killed process left.
	_ = os.Remove(file.Name())
	l.file = file
	return nil
}

func (l *Log) write(p []byte) error {
	n, err := l.file.Write(p)
	l.written += int64(n)
	if err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	return nil
}

// Each calls f with every record in the order they were added, until f fails. The record is valid during the call.
func (l *Log) Each(f func(tag uint32, record []byte) error) error {
	if l.file != nil {
		in := bufio.NewReaderSize(io.NewSectionReader(l.file, 0, l.written), reading)
		if err := each(in, f); err != nil {
			return err
		}
	}
	for rest := l.buffer; len(rest) > 0; {
		size := header + int(binary.BigEndian.Uint32(rest[4:]))
		if err := f(binary.BigEndian.Uint32(rest), rest[header:size:size]); err != nil {
			return err
		}
		rest = rest[size:]
	}
	return nil
}

func each(in *bufio.Reader, f func(tag uint32, record []byte) error) error {
	var head [header]byte
	var record []byte
	for {
		if _, err := io.ReadFull(in, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("spill: %w", err)
		}
		size := int(binary.BigEndian.Uint32(head[4:]))
		if cap(record) < size {
			record = make([]byte, size)
		}
		if _, err := io.ReadFull(in, record[:size]); err != nil {
			return fmt.Errorf("spill: %w", err)
		}
		if err := f(binary.BigEndian.Uint32(head[:]), record[:size]); err != nil {
			return err
		}
	}
}

// Discard drops everything. The log is of no use after it.
func (l *Log) Discard() error {
	l.buffer = nil
	if l.file == nil {
		return nil
	}
	name := l.file.Name()
	err := l.file.Close()
	l.file = nil
	_ = os.Remove(name)
	return err
}

// Clean removes files that a killed process left in dir under the pattern. The caller makes sure that no living
// process uses the pattern.
func Clean(dir, pattern string) error {
	if dir == "" {
		dir = os.TempDir()
	}
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

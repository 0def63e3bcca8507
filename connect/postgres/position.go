package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// position is a place in one server's write-ahead log. It is the end of a commit, so what follows it is whole
// transactions only (invariant 2).
type position struct {
	System   uint64 // the system identifier of the cluster
	Timeline uint32
	LSN      uint64
}

// Position prints system/timeline/LSN, the LSN as the server prints it.
func (p position) Position() waybill.Position {
	return waybill.Position(strconv.FormatUint(p.System, 10) + "/" + strconv.FormatUint(uint64(p.Timeline), 10) + "/" + formatLSN(p.LSN))
}

func parsePosition(text waybill.Position) (position, error) {
	system, rest, _ := strings.Cut(string(text), "/")
	timeline, lsn, _ := strings.Cut(rest, "/")
	var p position
	var err error
	if p.System, err = strconv.ParseUint(system, 10, 64); err != nil {
		return position{}, fmt.Errorf("position %q: system identifier: %w", text, err)
	}
	line, err := strconv.ParseUint(timeline, 10, 32)
	if err != nil {
		return position{}, fmt.Errorf("position %q: timeline: %w", text, err)
	}
	p.Timeline = uint32(line)
	if p.LSN, err = parseLSN(lsn); err != nil {
		return position{}, fmt.Errorf("position %q: %w", text, err)
	}
	return p, nil
}

func formatLSN(lsn uint64) string {
	return strings.ToUpper(strconv.FormatUint(lsn>>32, 16) + "/" + strconv.FormatUint(lsn&0xffffffff, 16))
}

func parseLSN(text string) (uint64, error) {
	high, low, ok := strings.Cut(text, "/")
	if !ok {
		return 0, fmt.Errorf("log position %q: want high/low", text)
	}
	h, err := strconv.ParseUint(high, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("log position %q: %w", text, err)
	}
	l, err := strconv.ParseUint(low, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("log position %q: %w", text, err)
	}
	return h<<32 | l, nil
}

// comparePositions orders positions of one cluster. A promotion starts a new timeline at a place of the old one,
// so the log position alone orders what is on the same line of descent; OpenChanges checks that it is.
func comparePositions(a, b waybill.Position) (int, error) {
	p, err := parsePosition(a)
	if err != nil {
		return 0, err
	}
	q, err := parsePosition(b)
	if err != nil {
		return 0, err
	}
	switch {
	case p.System != q.System:
		return 0, fmt.Errorf("positions %s and %s are of different clusters", a, b)
	case p.LSN < q.LSN:
		return -1, nil
	case p.LSN > q.LSN:
		return 1, nil
	}
	return 0, nil
}

package crash

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/waybill-data/waybill/link"
)

const (
	pointRandom = "(random moment)"
	pointSource = "(source server)"
	pointTarget = "(target server)"
	pointPart   = "apply.part" // needs a large transaction
	pointSpill  = "spill"
)

// points are those that are chosen by how often they were tried.
func points() []string { return append(slices.Clone(link.FailPoints), pointSpill) }

// score counts kills by point, and how often each point was tried.
type score struct {
	hits  map[string]int
	tried map[string]int
	total int
	rows  int64
}

func newScore() *score {
	return &score{hits: map[string]int{}, tried: map[string]int{}}
}

func (s *score) add(point string) {
	s.hits[point]++
	s.total++
}

// rarest returns a point that was tried least; one that is hard to reach does not starve the others.
func (s *score) rarest(r *rand.Rand) string {
	all := points()
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return slices.MinFunc(all, func(a, b string) int { return s.tried[a] - s.tried[b] })
}

// missed returns the points at which nothing was killed.
func (s *score) missed() []string {
	return slices.DeleteFunc(points(), func(point string) bool { return s.hits[point] > 0 })
}

func (s *score) String() string {
	var b strings.Builder
	for _, point := range append(points(), pointRandom, pointSource, pointTarget) {
		fmt.Fprintf(&b, "  %-18s %3d kills", point, s.hits[point])
		if tried := s.tried[point]; tried > s.hits[point] {
			fmt.Fprintf(&b, ", %d times not reached in time", tried-s.hits[point])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

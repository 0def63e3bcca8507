package compare

import (
	"context"
	"sync"
	"time"
)

// pace keeps the readers of one side together at so many rows a second.
type pace struct {
	rate int64 // 0: as fast as they can
	hold func(ctx context.Context) error
	mu   sync.Mutex
	next time.Time // when the rows that were read so far are paid for
}

// step is after how many rows a reader asks.
func (p *pace) step() int64 {
	if p.rate == 0 {
		return tellRows
	}
	return max(1, min(tellRows, p.rate/10))
}

// wait waits until so many more rows may have been read.
func (p *pace) wait(ctx context.Context, rows int64) error {
	if p.hold != nil {
		if err := p.hold(ctx); err != nil {
			return err
		}
	}
	if p.rate == 0 || rows == 0 {
		return ctx.Err()
	}
	now := time.Now()
	p.mu.Lock()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(rows) / float64(p.rate) * float64(time.Second)))
	until := p.next.Sub(now)
	p.mu.Unlock()
	select {
	case <-time.After(until):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// signals turns the first interrupt into a cancelled context, so that work stops at a safe point, and lets
// the second end the process at once.
type signals struct {
	number atomic.Int32
	at     time.Time  // of the first signal; belongs to the goroutine that listens
	mu     sync.Mutex // one line at a time on standard error
}

// echo is how soon after the first a signal is taken for the same one: who stops a process group through a
// wrapper (timeout, make, a container's init) often has it delivered twice.
const echo = 300 * time.Millisecond

// first notes a signal and reports whether it is the first.
func (s *signals) first(number int32, now time.Time) bool {
	if !s.number.CompareAndSwap(0, number) {
		return false
	}
	s.at = now
	return true
}

// atOnce reports whether a later signal asks to end at once.
func (s *signals) atOnce(now time.Time) bool { return now.Sub(s.at) >= echo }

// received returns the number of the first signal, 0 without one.
func (s *signals) received() int { return int(s.number.Load()) }

// watchSignals returns a context that the first signal cancels. Its goroutine ends with stop.
func (a *app) watchSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	arrivals := make(chan os.Signal, 2)
	done := make(chan struct{})
	signal.Notify(arrivals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for {
			select {
			case s := <-arrivals:
				number := int32(s.(syscall.Signal))
				if a.signals.first(number, time.Now()) {
					fmt.Fprintln(a.signals.guard(a.err), "stopping at a safe point; once more stops at once")
					cancel()
				} else if a.signals.atOnce(time.Now()) {
					os.Exit(exitSignal + int(number))
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(arrivals)
		close(done)
		cancel()
	}
}

// guard keeps writers to the same stream from mixing their lines.
func (s *signals) guard(w io.Writer) io.Writer { return &guarded{s, w} }

type guarded struct {
	signals *signals
	w       io.Writer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.signals.mu.Lock()
	defer g.signals.mu.Unlock()
	return g.w.Write(p)
}

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
)

// signals turns the first interrupt into a cancelled context, so that work stops at a safe point, and lets
// the second end the process at once.
type signals struct {
	number atomic.Int32
	mu     sync.Mutex // one line at a time on standard error
}

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
				if !a.signals.number.CompareAndSwap(0, number) {
					os.Exit(exitSignal + int(number))
				}
				fmt.Fprintln(a.signals.guard(a.err), "stopping at a safe point; once more stops at once")
				cancel()
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

// received returns the number of the first signal, 0 without one.
func (s *signals) received() int { return int(s.number.Load()) }

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

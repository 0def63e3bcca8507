package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/waybill-data/waybill"
)

// startProfile writes a CPU profile to a file until stop, and then the heap's beside it. Without a file it
// does nothing.
func startProfile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	const op = "write profile"
	cpu, err := os.Create(file)
	if err != nil {
		return nil, &waybill.Error{Op: op, Fault: waybill.Setup, Err: err}
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(&waybill.Error{Op: op, Fault: waybill.Setup, Err: err}, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(file + ".heap")
		if err != nil {
			return errors.Join(&waybill.Error{Op: op, Fault: waybill.Setup, Err: err}, cpu.Close())
		}
		runtime.GC()
		return errors.Join(cpu.Close(), pprof.WriteHeapProfile(heap), heap.Close())
	}, nil
}

package main

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/waybill-data/waybill"
)

// scarce is the free space below which doctor warns of a directory for spilled transactions.
const scarce = 1 << 30

// probeSpill tries the directories that links spill large transactions to, each once.
func probeSpill(probes []probe) []diagnosis {
	var tried []string
	var all []diagnosis
	for _, p := range probes {
		dir := p.link.SpillDir
		if dir == "" {
			dir = os.TempDir()
		}
		if p.link.Name == "" || slices.Contains(tried, dir) {
			continue
		}
		tried = append(tried, dir)
		all = append(all, diagnosis{Endpoint: "(disk)", Link: p.link.Name, Finding: probeDir(dir)})
	}
	return all
}

func probeDir(dir string) waybill.Finding {
	const code = "spill.dir"
	file, err := os.CreateTemp(dir, "waybill-doctor-")
	if err == nil {
		err = errors.Join(file.Close(), os.Remove(file.Name()))
	}
	if err != nil {
		return waybill.Finding{Code: code, Severity: waybill.Blocker, What: "large transactions cannot be spilled: " + err.Error(),
			Fix: "set spill_dir to a directory that this user can write"}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return waybill.Finding{Code: code, Severity: waybill.Warning, What: "free space of " + dir + " is not known: " + err.Error()}
	}
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:unconvert // their types differ between systems
	if free < scarce {
		return waybill.Finding{Code: code, Severity: waybill.Warning, What: size(free) + " free in " + dir,
			Fix: "set spill_dir to a directory with room for the largest transaction"}
	}
	return waybill.Finding{Code: code, Severity: waybill.Fine, What: dir + " can be written, " + size(free) + " free"}
}

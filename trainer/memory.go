package trainer

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
)

// collectAt is how much a training process lets its heap grow, in percent of
// what is in use, before it collects garbage. The data set is most of it and
// stays, so that Go's usual 100 would let as much again pile up; in the loop
// little is allocated, and pixels and weights hold no pointers to follow, so that
// collecting more often costs nothing.
const collectAt = 10

// saveMemory keeps this process small, unless the environment says otherwise.
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

// peakMemory is the most memory that this process ever had resident, in KiB, as
// Linux counts it (VmHWM in proc(5)); 0 where nothing says.
func peakMemory() (kib int) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte("VmHWM:"))
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		return 0
	}
	return kib
}

package kernel

import (
	"fmt"
	"os"
	"strings"

	"driftgate"
)

// Path is one of the ways in which every kernel is written.
type Path uint8

// The paths, the slowest first.
const (
	Portable Path = iota // Go alone: every machine
	AVX2                 // amd64 with AVX2 and FMA
	AVX512               // amd64 with AVX-512 F, BW, DQ and VL
)

// String is the word that DRIFTGATE_KERNEL knows the path by.
func (p Path) String() string {
	switch p {
	case AVX512:
		return "avx512"
	case AVX2:
		return "avx2"
	default:
		return "portable"
	}
}

// active is the path that kernels take. Only init and Force write it.
var active, environmentErr = choose(os.Getenv("DRIFTGATE_KERNEL"), best())

// Active is the path that kernels take now.
func Active() Path { return active }

// Paths is what this machine can run, the fastest first.
func Paths() []Path {
	var paths []Path
	for p := int(best()); p >= int(Portable); p-- {
		paths = append(paths, Path(p))
	}
	return paths
}

// Check returns what is wrong with DRIFTGATE_KERNEL: an unknown word, or a path
// that this processor lacks. Kernels then take the best path there is; commands
// should say so and stop.
func Check() error { return environmentErr }

// Force makes kernels take a path of [Paths] until restore is called. It is for
// tests and benchmarks: no kernel may run meanwhile in another goroutine.
func Force(p Path) (restore func()) {
	if p > best() {
		panic("kernel: force " + p.String() + ": this processor lacks it")
	}
	was := active
	active = p
	return func() { active = was }
}

func choose(word string, best Path) (Path, error) {
	if word == "" {
		return best, nil
	}
	for _, p := range []Path{AVX512, AVX2, Portable} {
		if word != p.String() {
			continue
		}
		if p > best {
			return best, fmt.Errorf("kernel: read DRIFTGATE_KERNEL %q: this processor lacks it, want %s or a lesser one: %w", word, best, driftgate.ErrInvalid)
		}
		return p, nil
	}
	words := []string{AVX512.String(), AVX2.String(), Portable.String()}
	return best, fmt.Errorf("kernel: read DRIFTGATE_KERNEL %q: want one of %s: %w", word, strings.Join(words, ", "), driftgate.ErrInvalid)
}

//go:build unix

package kernel

import (
	"math"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// memory hands out slices that end where reading is forbidden: a kernel that
// touches one value too many ends the test. What lies before each slice is
// watched too.
type memory struct {
	t       *testing.T
	regions [][]byte // without the forbidden page at their end
	given   []int    // bytes handed out of each region in use, from its end
}

const (
	regionBytes = 1 << 19
	watched     = 256 // bytes before a slice that must stay as they were
	canary      = 0xa5
)

func newMemory(t *testing.T) *memory {
	m := &memory{t: t}
	t.Cleanup(func() {
		m.check()
		for _, r := range m.regions {
			if err := syscall.Munmap(r[:cap(r)]); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

// take returns n bytes before a forbidden page.
func (m *memory) take(n int) unsafe.Pointer {
	if n+watched > regionBytes {
		m.t.Fatalf("%d bytes: want at most %d", n, regionBytes-watched)
	}
	if len(m.given) == len(m.regions) {
		r, err := syscall.Mmap(-1, 0, regionBytes+os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			m.t.Fatal(err)
		}
		if err := syscall.Mprotect(r[regionBytes:], syscall.PROT_NONE); err != nil {
			m.t.Fatal(err)
		}
		m.regions = append(m.regions, r[:regionBytes])
	}
	r := m.regions[len(m.given)]
	m.given = append(m.given, n)
	for i := range r[regionBytes-n-watched : regionBytes-n] {
		r[regionBytes-n-watched+i] = canary
	}
	return unsafe.Pointer(&r[:regionBytes+1][regionBytes-n])
}

// check tells when something before a slice was written, and takes all back.
func (m *memory) check() {
	m.t.Helper()
	for i, n := range m.given {
		for _, b := range m.regions[i][regionBytes-n-watched : regionBytes-n] {
			if b != canary {
				m.t.Fatal("a kernel wrote before the start of its slice")
			}
		}
	}
	m.given = m.given[:0]
}

// random is n normal numbers.
func (m *memory) random(r *rand.Rand, n int) []float32 {
	x := unsafe.Slice((*float32)(m.take(4*n)), n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// copy is x in guarded memory.
func (m *memory) copy(x []float32) []float32 {
	y := unsafe.Slice((*float32)(m.take(4*len(x))), len(x))
	copy(y, x)
	return y
}

// dirty is n values that are all NaN, for output that must be written whole.
func (m *memory) dirty(n int) []float32 {
	x := unsafe.Slice((*float32)(m.take(4*n)), n)
	for i := range x {
		x[i] = float32(math.NaN())
	}
	return x
}

// doubles is n normal numbers.
func (m *memory) doubles(r *rand.Rand, n int) []float64 {
	x := unsafe.Slice((*float64)(m.take(8*n)), n)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	return x
}

// expect holds a result to what float64 says: within tolerance times size, which
// is that of the terms that were summed, or of want when size is nil.
func expect[T float32 | float64](t *testing.T, what string, got []T, want, size []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		scale := math.Abs(w) + 1e-30
		if size != nil {
			scale += size[i]
		}
		if !(math.Abs(float64(got[i])-w) <= tolerance*scale) {
			t.Fatalf("%s: value %d is %g, want %g within %.1g", what, i, got[i], w, tolerance*scale)
		}
	}
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

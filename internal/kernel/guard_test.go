//go:build unix

package kernel

import (
	"math/rand/v2"
	"runtime/debug"
	"syscall"
	"testing"
	"unsafe"
)

// guarded is n random values with memory that can't be touched right behind
// them, or right before.
func guarded(t *testing.T, r *rand.Rand, n int, behind bool) []float32 {
	t.Helper()
	page := syscall.Getpagesize()
	pages := (n*4 + page - 1) / page
	m, err := syscall.Mmap(-1, 0, (pages+2)*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skipf("no memory to guard: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(m); err != nil {
			t.Errorf("unmap: %v", err)
		}
	})
	for _, guard := range [][]byte{m[:page], m[(pages+1)*page:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Skipf("no memory to guard: %v", err)
		}
	}
	begin := page
	if behind {
		begin = (pages+1)*page - n*4
	}
	x := unsafe.Slice((*float32)(unsafe.Pointer(&m[begin])), n)
	copy(x, random(r, n))
	return x
}

// noFault makes the test fail where a kernel leaves its slices.
func noFault(t *testing.T, what any) func() {
	was := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(was)
		if v := recover(); v != nil {
			t.Fatalf("%+v: outside of its slices: %v", what, v)
		}
	}
}

func TestGemmStaysWithinItsSlices(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		defer withThreads(1)() // a fault in a worker would end the program
		r := rand.New(rand.NewPCG(9, 10))
		for i := range 250 {
			s := shape{1 + r.IntN(40), 1 + r.IntN(140), 1 + r.IntN(40)}
			if i%10 == 0 {
				s.m, s.k = 1+150*r.IntN(2), 600
			}
			aT, bT, behind := r.IntN(2) == 0, r.IntN(2) == 0, i%2 == 0
			func() {
				defer noFault(t, s)()
				a := Operand{guarded(t, r, s.m*s.k, behind), s.k, aT}
				if aT {
					a.Stride = s.m
				}
				b := Operand{guarded(t, r, s.k*s.n, behind), s.n, bT}
				if bT {
					b.Stride = s.k
				}
				c := guarded(t, r, s.m*s.n, behind)
				e := Epilogue{Bias: guarded(t, r, s.n, behind), Accumulate: r.IntN(2) == 0}
				Gemm(s.m, s.n, s.k, a, b, c, s.n, e)
				Pack(s.k, s.n, b).Columns(s.m, a, c, s.n, e, 0, s.n)
			}()
		}
	})
}

func TestConvStaysWithinItsSlices(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		for i := range 120 {
			w := randomWindow(r)
			behind := i%2 == 0
			func() {
				defer noFault(t, w)()
				height, _ := w.Out()
				padded, out := guarded(t, r, w.Padded(), behind), guarded(t, r, w.Output(), behind)
				weights := guarded(t, r, w.Kernel*w.Kernel*w.Channels*w.Filters, behind)
				turned := guarded(t, r, len(weights), behind)
				w.Conv(out, padded, weights, Epilogue{Bias: guarded(t, r, w.Filters, behind)}, 0, height)
				w.ConvGradWeights(weights, padded, out)
				w.Turn(turned, weights)
				w.ConvGradInput(guarded(t, r, w.In(), behind), out, turned, guarded(t, r, w.GradScratch(), behind))
			}()
		}
	})
}

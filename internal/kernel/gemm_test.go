package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachPath runs a test on every path of this machine.
func eachPath(t *testing.T, f func(t *testing.T)) {
	for _, p := range Paths() {
		t.Run(p.String(), func(t *testing.T) {
			defer Force(p)()
			f(t)
		})
	}
}

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// operand is a random factor whose rows are apart by more than they need.
func operand(r *rand.Rand, rows, cols int, transposed bool) Operand {
	if transposed {
		rows, cols = cols, rows
	}
	stride := cols + r.IntN(3)
	return Operand{random(r, max(0, (rows-1)*stride+cols)), stride, transposed}
}

// naive is the product in float64, and how large its terms are in sum.
func naive(m, n, k int, a, b Operand, c []float32, stride int, e Epilogue) (want, scale []float64) {
	want, scale = make([]float64, m*n), make([]float64, m*n)
	for i := range m {
		for j := range n {
			var sum, size float64
			for l := range k {
				x := float64(a.Data[a.offset(i, l)]) * float64(b.Data[b.offset(l, j)])
				sum, size = sum+x, size+math.Abs(x)
			}
			if e.Accumulate {
				sum += float64(c[i*stride+j])
			}
			if e.Bias != nil {
				sum += float64(e.Bias[j])
			}
			if e.ReLU {
				sum = max(sum, 0)
			}
			want[i*n+j], scale[i*n+j] = sum, size+math.Abs(sum)+1
		}
	}
	return want, scale
}

type shape struct{ m, n, k int }

// checkGemm compares Gemm and Columns of a random product with the naive one.
func checkGemm(t *testing.T, r *rand.Rand, s shape, aT, bT bool, e Epilogue) {
	t.Helper()
	a, b := operand(r, s.m, s.k, aT), operand(r, s.k, s.n, bT)
	if e.Bias != nil {
		e.Bias = random(r, s.n)
	}
	stride := s.n + r.IntN(3)
	c := random(r, (s.m-1)*stride+s.n)
	want, scale := naive(s.m, s.n, s.k, a, b, c, stride, e)
	packed := append([]float32(nil), c...)
	before := append([]float32(nil), c...)
	Gemm(s.m, s.n, s.k, a, b, c, stride, e)
	Pack(s.k, s.n, b).Columns(s.m, a, packed, stride, e, 0, s.n)
	what := fmt.Sprintf("%+v a transposed %v, b transposed %v, accumulate %v, bias %v, relu %v", s, aT, bT, e.Accumulate, e.Bias != nil, e.ReLU)
	for i := range c {
		row, col := i/stride, i%stride
		if col >= s.n {
			if c[i] != before[i] || packed[i] != before[i] {
				t.Fatalf("%s: wrote between rows, at %d of row %d", what, col, row)
			}
			continue
		}
		if got, want := float64(c[i]), want[row*s.n+col]; !(math.Abs(got-want) <= 1e-6*scale[row*s.n+col]) {
			t.Fatalf("%s: row %d column %d is %g, want %g", what, row, col, got, want)
		}
		if math.Float32bits(packed[i]) != math.Float32bits(c[i]) {
			t.Fatalf("%s: row %d column %d is %g with the packed factor and %g without", what, row, col, packed[i], c[i])
		}
	}
}

// edges are sizes around those of tiles, panels and blocks of every path.
var edges = []int{1, 2, 3, 5, 6, 7, 8, 13, 14, 15, 16, 17, 29, 31, 32, 33, 47, 63, 64, 65, 130}

func TestGemmIsTheProduct(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, m := range edges {
			for _, n := range edges {
				k := edges[r.IntN(len(edges))]
				if r.IntN(4) == 0 {
					k = 255 + r.IntN(3) + 256*r.IntN(5)
				}
				e := Epilogue{Accumulate: r.IntN(2) == 0, ReLU: r.IntN(2) == 0}
				if r.IntN(2) == 0 {
					e.Bias = []float32{}
				}
				checkGemm(t, r, shape{m, n, k}, r.IntN(2) == 0, r.IntN(2) == 0, e)
			}
		}
	})
}

// What other processors run: two rows at once.
func TestGemmByPairsOfRows(t *testing.T) {
	defer Force(Portable)()
	defer func(was bool) { pairs = was }(pairs)
	pairs = !pairs
	r := rand.New(rand.NewPCG(13, 14))
	for range 100 {
		checkGemm(t, r, shape{1 + r.IntN(20), 1 + r.IntN(20), 1 + r.IntN(40)}, r.IntN(2) == 0, r.IntN(2) == 0, Epilogue{Accumulate: r.IntN(2) == 0})
	}
}

func TestGemmOfLargeShapes(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, s := range []shape{{300, 130, 300}, {64, 512, 520}, {1, 700, 300}, {2000, 40, 33}, {40, 40, 3000}, {2, 260, 2}} {
			for range 4 {
				checkGemm(t, r, s, r.IntN(2) == 0, r.IntN(2) == 0, Epilogue{Bias: []float32{}, ReLU: r.IntN(2) == 0})
			}
		}
	})
}

func TestGemmOverNothing(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		c := []float32{1, -2, 3, -4}
		Gemm(2, 2, 0, Operand{}, Operand{}, c, 2, Epilogue{Accumulate: true, Bias: []float32{1, 1}, ReLU: true})
		if fmt.Sprint(c) != "[2 0 4 0]" {
			t.Errorf("a product over no k, added with bias and ReLU, is %v, want [2 0 4 0]", c)
		}
		Gemm(2, 2, 0, Operand{}, Operand{}, c, 2, Epilogue{})
		if fmt.Sprint(c) != "[0 0 0 0]" {
			t.Errorf("a product over no k is %v, want zeros", c)
		}
		Gemm(0, 2, 3, Operand{}, Operand{}, nil, 2, Epilogue{})
		Gemm(2, 0, 3, Operand{}, Operand{}, nil, 2, Epilogue{})
	})
}

func TestGemmOfShortSlicesPanics(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		x := make([]float32, 64)
		for name, f := range map[string]func(){
			"a":    func() { Gemm(8, 8, 8, Operand{x[:63], 8, false}, Operand{x, 8, false}, x, 8, Epilogue{}) },
			"b":    func() { Gemm(8, 8, 8, Operand{x, 8, false}, Operand{x[:63], 8, true}, x, 8, Epilogue{}) },
			"c":    func() { Gemm(8, 8, 8, Operand{x, 8, false}, Operand{x, 8, false}, x[:63], 8, Epilogue{}) },
			"bias": func() { Gemm(8, 8, 8, Operand{x, 8, false}, Operand{x, 8, false}, x, 8, Epilogue{Bias: x[:7]}) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s that is too short by one: no panic", name)
					}
				}()
				f()
			}()
		}
	})
}

// A sample answers the same alone and in a batch, on one thread and on many.
func TestRowsHaveTheSameBitsWhateverTheBatch(t *testing.T) {
	defer Busy()() // smaller products are divided too
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, s := range []shape{{130, 512, 784}, {40, 10, 512}, {64, 130, 300}, {33, 700, 70}, {300, 64, 64}} {
			a, b := operand(r, s.m, s.k, false), operand(r, s.k, s.n, r.IntN(2) == 0)
			bias := random(r, s.n)
			all := make([]float32, s.m*s.n)
			Gemm(s.m, s.n, s.k, a, b, all, s.n, Epilogue{Bias: bias})
			packed := Pack(s.k, s.n, b)
			for _, m := range []int{1, 2, 7, 14, 15, s.m} {
				i := r.IntN(s.m - m + 1)
				some := Operand{a.Data[i*a.Stride:], a.Stride, false}
				for name, f := range map[string]func(c []float32){
					"plain":  func(c []float32) { Gemm(m, s.n, s.k, some, b, c, s.n, Epilogue{Bias: bias}) },
					"packed": func(c []float32) { packed.Columns(m, some, c, s.n, Epilogue{Bias: bias}, 0, s.n) },
				} {
					c := make([]float32, m*s.n)
					restore := withThreads(1 + r.IntN(4))
					f(c)
					restore()
					for j, v := range c {
						if math.Float32bits(v) != math.Float32bits(all[i*s.n+j]) {
							t.Fatalf("%+v: row %d is %g at %d among all rows and %g among %d (%s)", s, i+j/s.n, all[i*s.n+j], j%s.n, v, m, name)
						}
					}
				}
			}
		}
	})
}

func FuzzGemm(f *testing.F) {
	f.Add(uint64(1), uint16(3), uint16(5), uint16(7), uint8(0))
	f.Add(uint64(2), uint16(1), uint16(129), uint16(257), uint8(31))
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k uint16, flags uint8) {
		s := shape{int(m%150) + 1, int(n%150) + 1, int(k % 600)}
		e := Epilogue{Accumulate: flags&1 != 0, ReLU: flags&2 != 0}
		if flags&4 != 0 {
			e.Bias = []float32{}
		}
		eachPath(t, func(t *testing.T) {
			checkGemm(t, rand.New(rand.NewPCG(seed, 0)), s, flags&8 != 0, flags&16 != 0, e)
		})
	})
}

func TestProductsOnOneThreadAllocateNothing(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		defer withThreads(1)()
		x, bias := make([]float32, 1<<14), make([]float32, 100)
		a, b := Operand{x, 100, false}, Operand{x, 100, true}
		packed := Pack(100, 100, b)
		w := Window{10, 10, 5, 21, 3, 1, 1}
		for name, f := range map[string]func(){
			"Gemm":    func() { Gemm(20, 100, 100, a, b, x, 100, Epilogue{Bias: bias}) },
			"Columns": func() { packed.Columns(20, a, x, 100, Epilogue{Bias: bias}, 0, 100) },
			"Conv":    func() { w.Conv(x, x, x, Epilogue{Bias: bias}, 0, 10) },
		} {
			if n := testing.AllocsPerRun(100, f); n > 0 {
				t.Errorf("%s allocates %g times", name, n)
			}
		}
	})
}

// A network that has gone wrong must not look right again behind a ReLU.
func TestReLUKeepsWhatIsNotANumber(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, n := range []int{1, 8, 16, 20, 24, 32, 40} {
			a := []float32{1, float32(math.NaN()), -1}
			b, c := make([]float32, n), make([]float32, 3*n)
			for i := range b {
				b[i] = 2
			}
			Gemm(3, n, 1, Operand{a, 1, false}, Operand{b, n, false}, c, n, Epilogue{ReLU: true})
			for i := range n {
				if c[i] != 2 || c[n+i] == c[n+i] || c[2*n+i] != 0 {
					t.Fatalf("column %d of %d: %v, %v, %v, want 2, NaN, 0", i, n, c[i], c[n+i], c[2*n+i])
				}
			}
		}
	})
}

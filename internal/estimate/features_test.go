package estimate

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	dg "driftgate"
)

func randomFeatures(rng *rand.Rand, dim int) []float32 {
	x := make([]float32, dim)
	for i := range x {
		x[i] = float32(max(0, rng.NormFloat64()))
	}
	return x
}

func TestSketchIsAKernel(t *testing.T) {
	rng := source("sketch")
	// The mean over many sketches of phi(x).phi(y) is the Gaussian kernel of
	// the directions.
	const dim, sketches = 24, 600
	x, y := randomFeatures(rng, dim), randomFeatures(rng, dim)
	var xx, yy, xy float64
	for i := range x {
		xx += float64(x[i]) * float64(x[i])
		yy += float64(y[i]) * float64(y[i])
		xy += float64(x[i]) * float64(y[i])
	}
	want := math.Exp(-(2 - 2*xy/math.Sqrt(xx*yy)) / (2 * bandwidth * bandwidth))
	a, b := make([]float64, SketchSize), make([]float64, SketchSize)
	var mean float64
	for seed := range sketches {
		s := NewSketch(dim, uint64(seed))
		s.Map(x, a)
		s.Map(y, b)
		var dot, length float64
		for i := range a {
			dot += a[i] * b[i]
			length += a[i] * a[i]
		}
		near(t, "length", length, 1, 1e-12)
		mean += dot / sketches
	}
	near(t, "kernel", mean, want, 5/math.Sqrt(sketches*SketchSize))
}

func TestSketchLooksAtDirectionsOnly(t *testing.T) {
	rng := source("direction")
	s := NewSketch(8, 3)
	x := randomFeatures(rng, 8)
	double := slices.Clone(x)
	for i := range double {
		double[i] *= 2
	}
	a, b := make([]float64, SketchSize), make([]float64, SketchSize)
	s.Map(x, a)
	s.Map(double, b)
	for i := range a {
		near(t, "twice as long", b[i], a[i], 1e-12)
	}
	NewSketch(8, 4).Map(x, b)
	if slices.Equal(a, b) {
		t.Error("two seeds make one sketch")
	}
	NewSketch(8, 3).Map(x, b)
	if !slices.Equal(a, b) {
		t.Error("one seed makes two sketches")
	}
	origin := make([]float64, SketchSize)
	s.Map(make([]float32, 8), origin)
	for name, bad := range map[string]float32{"NaN": float32(math.NaN()), "Inf": float32(math.Inf(1))} {
		y := slices.Clone(x)
		y[3] = bad
		if s.Map(y, b); !slices.Equal(b, origin) {
			t.Errorf("%s is not mapped as the origin: %v", name, b)
		}
	}
	if got := s.frequencies[0]; math.Abs(got-wantFrequency) > 1e-12 {
		t.Errorf("first frequency of seed 3 is %.15g, was %.15g when sums were first stored", got, wantFrequency)
	}
}

func someSums(rng *rand.Rand, n, d int) FeatureSums {
	var f FeatureSums
	phi := make([]float64, d)
	for range n {
		var square float64
		for i := range phi {
			phi[i] = rng.NormFloat64()
			square += phi[i] * phi[i]
		}
		for i := range phi {
			phi[i] /= math.Sqrt(square)
		}
		f.Add(phi)
	}
	return f
}

func equalSums(a, b FeatureSums) bool {
	return a.N == b.N && slices.Equal(a.Sum, b.Sum) && slices.Equal(a.Cross, b.Cross)
}

func TestFeatureSums(t *testing.T) {
	t.Run("the triangle by hand", func(t *testing.T) {
		var f FeatureSums
		f.Add([]float64{.6, 0, .8})
		f.Add([]float64{0, 1, 0})
		if f.N != 2 || !slices.Equal(f.Sum, []float64{.6, 1, .8}) || len(f.Cross) != 6 {
			t.Fatalf("%+v", f)
		}
		for i, want := range []float64{.36, 0, .48, 1, 0, .64} {
			near(t, "product", f.Cross[i], want, 1e-15)
		}
	})
	t.Run("merging is adding", func(t *testing.T) {
		rng := source("merge")
		var all, parts FeatureSums
		for range 5 {
			g := someSums(rng, 7, 4)
			keep := FeatureSums{N: g.N, Sum: slices.Clone(g.Sum), Cross: slices.Clone(g.Cross)}
			if err := parts.Merge(g); err != nil {
				t.Fatal(err)
			}
			if err := all.Merge(keep); err != nil {
				t.Fatal(err)
			}
			if !equalSums(g, keep) {
				t.Fatal("merge changed what it was given")
			}
		}
		if parts.N != 35 || !equalSums(all, parts) {
			t.Errorf("%+v against %+v", parts, all)
		}
		if err := parts.Merge(FeatureSums{}); err != nil || parts.N != 35 {
			t.Errorf("merging nothing: %d, %v", parts.N, err)
		}
	})
	t.Run("another length is refused", func(t *testing.T) {
		rng := source("length")
		f := someSums(rng, 3, 4)
		if err := f.Merge(someSums(rng, 3, 5)); !errors.Is(err, dg.ErrInvalid) || f.N != 3 {
			t.Errorf("%v, then %d", err, f.N)
		}
	})
}

func TestFeatureSumsCodec(t *testing.T) {
	rng := source("codec")
	for _, n := range []int{0, 1, 50} {
		f := someSums(rng, n, SketchSize)
		b, err := f.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var g FeatureSums
		if err := g.UnmarshalBinary(b); err != nil || !equalSums(f, g) {
			t.Errorf("%d predictions come back as %d: %v", n, g.N, err)
		}
	}
	good, _ := someSums(rng, 5, 4).MarshalBinary()
	nan := slices.Clone(good)
	copy(nan[featureHead:], []byte{1, 0, 0, 0, 0, 0, 0xf8, 0x7f})
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"a head too few":  good[:featureHead-1],
		"a byte too few":  good[:len(good)-1],
		"a byte too many": append(slices.Clone(good), 0),
		"another version": append([]byte{9}, good[1:]...),
		"NaN":             nan,
	} {
		f := FeatureSums{N: 77}
		if err := f.UnmarshalBinary(b); !errors.Is(err, dg.ErrInvalid) || f.N != 77 {
			t.Errorf("%s: %v, then %d", name, err, f.N)
		}
	}
	if _, err := (FeatureSums{N: 1, Sum: []float64{1}}).MarshalBinary(); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("sums without products: %v", err)
	}
}

func FuzzFeatureSums(f *testing.F) {
	b, _ := someSums(rand.New(rand.NewPCG(1, 2)), 5, 4).MarshalBinary()
	f.Add(b)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var sums FeatureSums
		if err := sums.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, dg.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := sums.MarshalBinary()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("decoded %x, encoded %x: %v", b, again, err)
		}
	})
}

// wantFrequency pins the sketch: stored sums outlive the program.
const wantFrequency = -1.90591031953166

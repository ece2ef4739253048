package kernel

import (
	"errors"
	"strings"
	"testing"

	"driftgate"
)

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		name, word string
		best, want Path
		err        string
	}{
		{"nothing asked for: the best", "", AVX512, AVX512, ""},
		{"nothing asked for on a lesser processor", "", AVX2, AVX2, ""},
		{"the best asked for", "avx512", AVX512, AVX512, ""},
		{"a lesser one asked for", "avx2", AVX512, AVX2, ""},
		{"Go alone", "portable", AVX512, Portable, ""},
		{"more than there is: the best, and an error", "avx512", AVX2, AVX2, "want avx2 or a lesser one"},
		{"an unknown word: the best, and an error", "AVX-512", AVX512, AVX512, "want one of avx512, avx2, portable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := choose(tt.word, tt.best)
			if got != tt.want {
				t.Errorf("choose(%q, %s) = %s, want %s", tt.word, tt.best, got, tt.want)
			}
			if tt.err == "" {
				if err != nil {
					t.Errorf("unasked error: %v", err)
				}
				return
			}
			if !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want an invalid with %q", err, tt.err)
			}
		})
	}
}

func TestForceRestores(t *testing.T) {
	was := Active()
	for _, p := range Paths() {
		restore := Force(p)
		if Active() != p {
			t.Errorf("forced %s, active is %s", p, Active())
		}
		restore()
		if Active() != was {
			t.Errorf("restored after %s, active is %s, was %s", p, Active(), was)
		}
	}
}

func TestPathsEndWithGoAlone(t *testing.T) {
	paths := Paths()
	if paths[len(paths)-1] != Portable {
		t.Errorf("paths %v: the last is not portable", paths)
	}
	for i := 1; i < len(paths); i++ {
		if paths[i] >= paths[i-1] {
			t.Errorf("paths %v: not the fastest first", paths)
		}
	}
}

func TestPeakDoesWhatItSays(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		if n := Peak(1e6); Active() != Portable && n < 1e6 {
			t.Errorf("asked for a million, did %d", n)
		}
	})
}

// A factor that was packed on one path is multiplied on that path.
func TestPackedFactorOutlivesItsPath(t *testing.T) {
	for _, p := range Paths() {
		restore := Force(p)
		b := Operand{Data: []float32{1, 2, 3, 4, 5, 6}, Stride: 3}
		packed := Pack(2, 3, b)
		restore()
		for _, other := range Paths() {
			restore := Force(other)
			c := make([]float32, 3)
			packed.Columns(1, Operand{Data: []float32{10, 1}, Stride: 2}, c, 3, Epilogue{}, 0, 3)
			if c[0] != 14 || c[1] != 25 || c[2] != 36 {
				t.Errorf("packed on %s, multiplied on %s: %v, want [14 25 36]", p, other, c)
			}
			restore()
		}
	}
}

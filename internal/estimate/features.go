package estimate

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	dg "driftgate"
)

// SketchSize is the length D of a sketched feature vector: cosine and sine of
// D/2 random frequencies.
const SketchSize = 32

// bandwidth of the Gaussian kernel between directions, which lie at most 2
// apart, and at most sqrt 2 when no feature is negative (after a ReLU). It is
// fixed: a bandwidth chosen by the data would make sums of two days
// incomparable.
const bandwidth = .5

// Sketch maps penultimate features to random Fourier features (Rahimi & Recht
// 2007) of their direction, so that sums of D numbers tell two distributions
// apart: the distance of two mean maps is the maximum mean discrepancy under a
// Gaussian kernel, at D/2 of its frequencies. Lengths are left out, because
// they grow with contrast and confidence, which has a test of its own. It is
// safe for concurrent use.
type Sketch struct {
	dim         int
	frequencies []float64 // SketchSize/2 rows of dim
}

// NewSketch makes the sketch of features of length dim. The same dim and seed
// always make the same one, on every machine; sums made with different seeds
// must not be compared. The seed belongs to the model: a prefix of its digest.
func NewSketch(dim int, seed uint64) *Sketch {
	dim = max(dim, 0)
	s := &Sketch{dim: dim, frequencies: make([]float64, SketchSize/2*dim)}
	pcg := rand.NewPCG(seed, 0x736b65746368) // "sketch"
	// Box and Muller's own transform, because the standard library may change
	// how it draws normals, and stored sums must outlive that.
	uniform := func() float64 { return (float64(pcg.Uint64()>>11) + .5) / (1 << 53) }
	for i := range s.frequencies {
		s.frequencies[i] = math.Sqrt(-2*math.Log(uniform())) * math.Cos(2*math.Pi*uniform()) / bandwidth
	}
	return s
}

// Dim is the length of the features it maps.
func (s *Sketch) Dim() int { return s.dim }

// Map writes the sketch of features, a vector of length 1, into phi, of length
// [SketchSize]. Features without a direction (all 0, or any not finite) are
// mapped as the origin. Lengths that don't fit are a mistake of the program and
// panic.
func (s *Sketch) Map(features []float32, phi []float64) {
	if len(features) != s.dim || len(phi) != SketchSize {
		panic(fmt.Sprintf("estimate: sketch of %d features into %d: given %d into %d", s.dim, SketchSize, len(features), len(phi)))
	}
	var square float64
	for _, x := range features {
		square += float64(x) * float64(x)
	}
	scale := 0.0
	if square > 0 && !math.IsInf(square, 1) { // also refuses NaN
		scale = 1 / math.Sqrt(square)
	}
	const half = SketchSize / 2
	norm := 1 / math.Sqrt(half)
	for i := range half {
		var dot float64
		if scale > 0 {
			for j, w := range s.frequencies[i*s.dim : (i+1)*s.dim] {
				dot += w * float64(features[j])
			}
		}
		sin, cos := math.Sincos(dot * scale)
		phi[i], phi[half+i] = norm*cos, norm*sin
	}
}

// FeatureSums are sums over predictions of their sketched features phi: enough
// for their mean and covariance. The zero value is empty.
type FeatureSums struct {
	N     int       `json:"n"`               // predictions
	Sum   []float64 `json:"sum,omitempty"`   // of phi, length D
	Cross []float64 `json:"cross,omitempty"` // of phi phi', upper triangle row by row, length D(D+1)/2
}

// Add counts one prediction. A phi of another length than those before is a
// mistake of the program and panics.
func (f *FeatureSums) Add(phi []float64) {
	d := len(phi)
	if f.N == 0 && len(f.Sum) == 0 {
		f.Sum, f.Cross = make([]float64, d), make([]float64, d*(d+1)/2)
	}
	if len(f.Sum) != d {
		panic(fmt.Sprintf("estimate: feature sums of %d: given %d", len(f.Sum), d))
	}
	f.N++
	row := f.Cross
	for i, x := range phi {
		f.Sum[i] += x
		for j, y := range phi[i:] {
			row[j] += x * y
		}
		row = row[d-i:]
	}
}

// Merge adds the sums of g, which is left as it was. The error is
// [dg.ErrInvalid] for sums of another length; f is unchanged then.
func (f *FeatureSums) Merge(g FeatureSums) error {
	if err := g.check(); err != nil {
		return fmt.Errorf("estimate: merge feature sums: %w", err)
	}
	if g.N == 0 {
		return nil
	}
	if f.N == 0 {
		*f = FeatureSums{N: g.N, Sum: append([]float64(nil), g.Sum...), Cross: append([]float64(nil), g.Cross...)}
		return nil
	}
	if len(f.Sum) != len(g.Sum) || len(f.Cross) != len(g.Cross) {
		return fmt.Errorf("estimate: merge feature sums: length %d with %d: want the same sketch: %w", len(f.Sum), len(g.Sum), dg.ErrInvalid)
	}
	f.N += g.N
	for i, x := range g.Sum {
		f.Sum[i] += x
	}
	for i, x := range g.Cross {
		f.Cross[i] += x
	}
	return nil
}

// check demands lengths that fit and finite sums.
func (f FeatureSums) check() error {
	d := len(f.Sum)
	switch {
	case f.N < 0 || f.N > maxFeatureCount:
		return fmt.Errorf("%d predictions: want 0 to %d: %w", f.N, maxFeatureCount, dg.ErrInvalid)
	case f.N == 0 && d == 0 && len(f.Cross) == 0:
		return nil
	case d < 1 || d > maxFeatureLength || len(f.Cross) != d*(d+1)/2:
		return fmt.Errorf("%d sums and %d products: want 1 to %d, and as many products as their triangle has: %w", d, len(f.Cross), maxFeatureLength, dg.ErrInvalid)
	}
	for _, list := range [][]float64{f.Sum, f.Cross} {
		for _, x := range list {
			if !(math.Abs(x) <= float64(f.N)+.5) { // |phi| = 1; also refuses NaN
				return fmt.Errorf("sum %g over %d predictions: want at most their number: %w", x, f.N, dg.ErrInvalid)
			}
		}
	}
	return nil
}

const (
	maxFeatureCount  = 1 << 50
	maxFeatureLength = 1024
	featureVersion   = 1
	featureHead      = 1 + 2 + 8 // version, D, N
)

// MarshalBinary encodes the sums exactly: version, D, N, sums, products, little
// endian. The error is [dg.ErrInvalid] for sums that can't be.
func (f FeatureSums) MarshalBinary() ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("estimate: encode feature sums: %w", err)
	}
	b := make([]byte, 0, featureHead+8*(len(f.Sum)+len(f.Cross)))
	b = append(b, featureVersion)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(f.Sum)))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.N))
	for _, list := range [][]float64{f.Sum, f.Cross} {
		for _, x := range list {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
	}
	return b, nil
}

// UnmarshalBinary decodes what MarshalBinary wrote. The error is
// [dg.ErrInvalid] for another version, length or impossible sums; f is
// unchanged then.
func (f *FeatureSums) UnmarshalBinary(b []byte) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("estimate: decode feature sums: "+format+": %w", append(args, dg.ErrInvalid)...)
	}
	if len(b) < featureHead {
		return bad("%d bytes: want at least %d", len(b), featureHead)
	}
	if b[0] != featureVersion {
		return bad("version %d: want %d", b[0], featureVersion)
	}
	d, n := int(binary.LittleEndian.Uint16(b[1:])), binary.LittleEndian.Uint64(b[3:])
	if n > maxFeatureCount || d > maxFeatureLength {
		return bad("%d predictions of length %d: want at most %d and %d", n, d, maxFeatureCount, maxFeatureLength)
	}
	if want := featureHead + 8*(d+d*(d+1)/2); len(b) != want {
		return bad("%d bytes for length %d: want %d", len(b), d, want)
	}
	g := FeatureSums{N: int(n)}
	if d > 0 {
		g.Sum, g.Cross = make([]float64, d), make([]float64, d*(d+1)/2)
	}
	b = b[featureHead:]
	for _, list := range [][]float64{g.Sum, g.Cross} {
		for i := range list {
			list[i] = math.Float64frombits(binary.LittleEndian.Uint64(b))
			b = b[8:]
		}
	}
	if err := g.check(); err != nil {
		return fmt.Errorf("estimate: decode feature sums: %w", err)
	}
	*f = g
	return nil
}

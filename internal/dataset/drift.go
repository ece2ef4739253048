package dataset

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	dg "driftgate"
)

// Drift says how production images differ from those trained on. The zero
// value is no drift.
type Drift struct {
	Rotation  float64   `json:"rotation,omitempty"`   // degrees, clockwise
	Invert    bool      `json:"invert,omitempty"`     // black for white
	NewStyles float64   `json:"new_styles,omitempty"` // share of garments of cuts and textures never seen, 0 to 1
	Noise     float64   `json:"noise,omitempty"`      // standard deviation of added Gaussian noise, 0 to 1
	Mix       []float64 `json:"mix,omitempty"`        // class weights; nil = even
}

// Validate reports every fault at once; the error is [dg.ErrInvalid].
func (d Drift) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !(math.Abs(d.Rotation) <= 360) {
		bad("rotation %g: want -360 to 360 degrees", d.Rotation)
	}
	if !(d.NewStyles >= 0 && d.NewStyles <= 1) {
		bad("new_styles %g: want a share from 0 to 1", d.NewStyles)
	}
	if !(d.Noise >= 0 && d.Noise <= 1) {
		bad("noise %g: want a standard deviation from 0 to 1", d.Noise)
	}
	if d.Mix != nil && len(d.Mix) != len(dg.FashionMNIST) {
		bad("mix: %d weights, want one for each of %d classes", len(d.Mix), len(dg.FashionMNIST))
	}
	sum := 0.0
	for _, w := range d.Mix {
		if !(w >= 0 && w <= 1e6) {
			bad("mix weight %g: want 0 or more", w)
		}
		sum += w
	}
	if d.Mix != nil && !(sum > 0) {
		bad("mix: want at least one weight over 0")
	}
	if len(errs) > 0 {
		return fmt.Errorf("dataset: drift: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// Apply rotates, inverts and adds noise to one grey image of h x w pixels, in
// this order, and returns a new one. rng is used for the noise only, and may be
// nil without it. NewStyles and Mix concern the drawing of garments, not the
// pixels: see [Garment] and [Synthetic].
func (d Drift) Apply(pixels []byte, h, w int, rng *rand.Rand) []byte {
	out := rotate(pixels, h, w, d.Rotation)
	if d.Invert {
		for i, v := range out {
			out[i] = 255 - v
		}
	}
	if d.Noise > 0 {
		for i, v := range out {
			out[i] = byte(min(max(math.Round(float64(v)+255*d.Noise*rng.NormFloat64()), 0), 255))
		}
	}
	return out
}

// rotate turns a grey image about its centre, clockwise, by bilinear sampling;
// what comes in from outside is black. Quarter turns of squares are exact.
func rotate(pixels []byte, h, w int, degrees float64) []byte {
	out := make([]byte, h*w)
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	if q := math.Mod(degrees, 90); q == 0 {
		sin, cos = math.Round(sin), math.Round(cos)
	}
	cy, cx := float64(h-1)/2, float64(w-1)/2
	at := func(y, x int) float64 {
		if y < 0 || y >= h || x < 0 || x >= w {
			return 0
		}
		return float64(pixels[y*w+x])
	}
	for y := range h {
		for x := range w {
			dx, dy := float64(x)-cx, float64(y)-cy
			sx, sy := cos*dx+sin*dy+cx, cos*dy-sin*dx+cy
			x0, y0 := math.Floor(sx), math.Floor(sy)
			fx, fy := sx-x0, sy-y0
			xi, yi := int(x0), int(y0)
			top := at(yi, xi)*(1-fx) + at(yi, xi+1)*fx
			bottom := at(yi+1, xi)*(1-fx) + at(yi+1, xi+1)*fx
			out[y*w+x] = byte(math.Round(top*(1-fy) + bottom*fy))
		}
	}
	return out
}

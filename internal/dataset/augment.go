package dataset

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"

	dg "driftgate"
)

// Augmentation says how far training images are varied, so that a model sees
// each a little differently in every epoch. The zero value varies nothing.
// Each figure is the largest change: the one that is made is drawn.
type Augmentation struct {
	Share      float64 `json:"share"`                // of the images of an epoch that are varied, 0 to 1; the others stay as they are
	Shift      int     `json:"shift,omitempty"`      // pixels, in each direction
	Flip       bool    `json:"flip,omitempty"`       // left for right, one time in two
	Rotation   float64 `json:"rotation,omitempty"`   // degrees, either way
	Brightness float64 `json:"brightness,omitempty"` // factor 1-b to 1+b
	Noise      float64 `json:"noise,omitempty"`      // standard deviation of added Gaussian noise, 0 to 1
	Cutout     int     `json:"cutout,omitempty"`     // side of a square that is blanked, pixels (DeVries & Taylor, 2017)
}

// Any reports whether anything is varied at all.
func (a Augmentation) Any() bool {
	return a.Share > 0 && (a.Shift > 0 || a.Flip || a.Rotation > 0 || a.Brightness > 0 || a.Noise > 0 || a.Cutout > 0)
}

// Validate reports every fault at once; the error is [dg.ErrInvalid].
func (a Augmentation) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(a.Share >= 0 && a.Share <= 1, "share %g: want 0 to 1", a.Share)
	want(a.Shift >= 0 && a.Shift <= maxModelSide, "shift %d: want 0 to %d pixels", a.Shift, maxModelSide)
	want(a.Rotation >= 0 && a.Rotation <= 180, "rotation %g: want 0 to 180 degrees", a.Rotation)
	want(a.Brightness >= 0 && a.Brightness < 1, "brightness %g: want 0 to below 1", a.Brightness)
	want(a.Noise >= 0 && a.Noise <= 1, "noise %g: want a standard deviation from 0 to 1", a.Noise)
	want(a.Cutout >= 0 && a.Cutout <= maxModelSide, "cutout %d: want 0 to %d pixels", a.Cutout, maxModelSide)
	if len(errs) > 0 {
		return fmt.Errorf("dataset: augmentation: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// Sensible returns what of a makes sense for a set of h x w images with these
// classes, and says what does not and why: characters and things told apart by
// left and right are not flipped, and a shift or a cutout leaves most of the
// image.
func (a Augmentation) Sensible(classes dg.Classes, h, w int) (Augmentation, []string) {
	var out []string
	if label, sided := firstSided(classes); a.Flip && sided {
		a.Flip = false
		out = append(out, fmt.Sprintf("flip: class %q would be another one in the mirror", label))
	}
	side := min(h, w)
	if most := side / 3; a.Shift > most {
		out = append(out, fmt.Sprintf("shift beyond %d of %d pixels", most, side))
		a.Shift = most
	}
	if most := side / 2; a.Cutout > most {
		out = append(out, fmt.Sprintf("cutout beyond %d of %d pixels", most, side))
		a.Cutout = most
	}
	return a, out
}

// firstSided finds a class that a mirror changes: a single letter or digit, or
// a label that says left or right.
func firstSided(classes dg.Classes) (string, bool) {
	for _, label := range classes {
		if r, n := utf8.DecodeRuneInString(label); n == len(label) && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return label, true
		}
		for _, word := range strings.FieldsFunc(strings.ToLower(label), func(r rune) bool { return !unicode.IsLetter(r) }) {
			if word == "left" || word == "right" {
				return label, true
			}
		}
	}
	return "", false
}

// Apply writes src, one image of h x w x channels uint8s, varied into dst, and
// reports whether it was. dst and src must not overlap. The same state of rng
// gives the same image.
func (a Augmentation) Apply(dst, src []byte, h, w, channels int, rng *rand.Rand) bool {
	if !a.Any() || rng.Float64() >= a.Share {
		copy(dst, src)
		return false
	}
	t := turn{sin: 0, cos: 1, scaleX: 1}
	if a.Rotation > 0 {
		t.sin, t.cos = math.Sincos((2*rng.Float64() - 1) * a.Rotation * math.Pi / 180)
	}
	if a.Shift > 0 {
		t.dx, t.dy = float64(rng.IntN(2*a.Shift+1)-a.Shift), float64(rng.IntN(2*a.Shift+1)-a.Shift)
	}
	if a.Flip && rng.IntN(2) == 0 {
		t.scaleX = -1
	}
	t.apply(dst, src, h, w, channels)
	if a.Brightness > 0 {
		scale(dst, 1+(2*rng.Float64()-1)*a.Brightness)
	}
	if a.Noise > 0 {
		for i, v := range dst {
			dst[i] = level(float64(v) + 255*a.Noise*rng.NormFloat64())
		}
	}
	if a.Cutout > 0 {
		blank(dst, h, w, channels, a.Cutout, rng.IntN(h), rng.IntN(w))
	}
	return true
}

func scale(px []byte, by float64) {
	for i, v := range px {
		px[i] = level(float64(v) * by)
	}
}

func level(v float64) byte { return byte(min(max(math.Round(v), 0), 255)) }

// blank turns a square about y, x to black, as far as it lies in the image.
func blank(px []byte, h, w, channels, side, y, x int) {
	top, left := y-side/2, x-side/2
	for r := max(0, top); r < min(h, top+side); r++ {
		clear(px[(r*w+max(0, left))*channels : (r*w+max(0, min(w, left+side)))*channels])
	}
}

// turn is a rotation about the image's centre, after a mirroring, before a
// shift. Images are sampled bilinearly; what lies outside is as its nearest
// edge.
type turn struct {
	sin, cos float64
	dx, dy   float64 // pixels to the right and down
	scaleX   float64 // -1 mirrors
}

func (t turn) apply(dst, src []byte, h, w, channels int) {
	if t.sin == 0 && t.cos == 1 {
		t.whole(dst, src, h, w, channels)
		return
	}
	cy, cx := float64(h-1)/2, float64(w-1)/2
	for y := range h {
		for x := range w {
			px, py := float64(x)-cx-t.dx, float64(y)-cy-t.dy
			sx, sy := t.scaleX*(t.cos*px+t.sin*py)+cx, t.cos*py-t.sin*px+cy
			x0, y0 := math.Floor(sx), math.Floor(sy)
			fx, fy := sx-x0, sy-y0
			l, r := clamp(int(x0), w), clamp(int(x0)+1, w)
			u, d := clamp(int(y0), h)*w, clamp(int(y0)+1, h)*w
			for c := range channels {
				top := float64(src[(u+l)*channels+c])*(1-fx) + float64(src[(u+r)*channels+c])*fx
				bottom := float64(src[(d+l)*channels+c])*(1-fx) + float64(src[(d+r)*channels+c])*fx
				dst[(y*w+x)*channels+c] = byte(top*(1-fy) + bottom*fy + 0.5)
			}
		}
	}
}

// whole is apply without a rotation: pixels move, none is mixed.
func (t turn) whole(dst, src []byte, h, w, channels int) {
	for y := range h {
		row := clamp(y-int(t.dy), h) * w
		for x := range w {
			sx := x - int(t.dx)
			if t.scaleX < 0 {
				sx = w - 1 - sx
			}
			from := (row + clamp(sx, w)) * channels
			copy(dst[(y*w+x)*channels:][:channels], src[from:][:channels])
		}
	}
}

func clamp(i, n int) int { return min(max(i, 0), n-1) }

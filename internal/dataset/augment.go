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
	Contrast   float64 `json:"contrast,omitempty"`   // factor 1-c to 1+c of the distance from the image's mean
	Saturation float64 `json:"saturation,omitempty"` // factor 1-s to 1+s of the distance from grey; colour images only
	Noise      float64 `json:"noise,omitempty"`      // standard deviation of added Gaussian noise, 0 to 1
	Cutout     int     `json:"cutout,omitempty"`     // side of a square that is blanked, pixels (DeVries & Taylor, 2017)
}

// Any reports whether anything is varied at all.
func (a Augmentation) Any() bool {
	return a.Share > 0 && (a.Shift > 0 || a.Flip || a.Rotation > 0 ||
		a.Brightness > 0 || a.Contrast > 0 || a.Saturation > 0 || a.Noise > 0 || a.Cutout > 0)
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
	want(a.Contrast >= 0 && a.Contrast < 1, "contrast %g: want 0 to below 1", a.Contrast)
	want(a.Saturation >= 0 && a.Saturation < 1, "saturation %g: want 0 to below 1", a.Saturation)
	want(a.Noise >= 0 && a.Noise <= 1, "noise %g: want a standard deviation from 0 to 1", a.Noise)
	want(a.Cutout >= 0 && a.Cutout <= maxModelSide, "cutout %d: want 0 to %d pixels", a.Cutout, maxModelSide)
	if len(errs) > 0 {
		return fmt.Errorf("dataset: augmentation: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// Sensible returns what of a makes sense for a set of h x w images with these
// classes, and says what does not and why: characters and things told apart by
// left and right are not flipped, grey images have no saturation, and a shift
// or a cutout leaves most of the image.
func (a Augmentation) Sensible(classes dg.Classes, h, w, channels int) (Augmentation, []string) {
	var out []string
	if label, sided := firstSided(classes); a.Flip && sided {
		a.Flip = false
		out = append(out, fmt.Sprintf("flip: class %q would be another one in the mirror", label))
	}
	if a.Saturation > 0 && channels != 3 {
		a.Saturation = 0
		out = append(out, "saturation: the images have no colours")
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
		t.dx, t.dy = rng.IntN(2*a.Shift+1)-a.Shift, rng.IntN(2*a.Shift+1)-a.Shift
	}
	if a.Flip && rng.IntN(2) == 0 {
		t.scaleX = -1
	}
	t.apply(dst, src, h, w, channels)
	factor := func(most float64) float64 {
		if most == 0 {
			return 1
		}
		return 1 + (2*rng.Float64()-1)*most
	}
	tone(dst, factor(a.Brightness), factor(a.Contrast))
	if channels == 3 {
		saturate(dst, factor(a.Saturation))
	}
	if a.Noise > 0 {
		scatter(dst, a.Noise, rng)
	}
	if a.Cutout > 0 {
		blank(dst, h, w, channels, a.Cutout, rng.IntN(h), rng.IntN(w))
	}
	return true
}

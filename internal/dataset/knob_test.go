package dataset

import (
	"bytes"
	"errors"
	"math"
	"testing"

	dg "driftgate"
)

func mean(px []byte) (m float64) {
	for _, v := range px {
		m += float64(v) / float64(len(px))
	}
	return m
}

func turnedBy(t *testing.T, knob string, strength float64, px []byte, h, w, channels int) []byte {
	t.Helper()
	out, err := Turn(knob, strength, px, h, w, channels, 7)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEveryKnobLeavesTheImageAtZeroAndChangesItBeyond(t *testing.T) {
	for _, channels := range []int{1, 3} {
		px := make([]byte, 28*20*channels)
		for i := range px {
			px[i] = byte(30 + i*7919%200)
		}
		before := bytes.Clone(px)
		for _, k := range Knobs {
			zero := false
			for i, s := range k.Strengths {
				if i > 0 && s <= k.Strengths[i-1] {
					t.Errorf("%s: strengths %v are not ascending", k.Name, k.Strengths)
				}
				zero = zero || s == 0
				out := turnedBy(t, k.Name, s, px, 28, 20, channels)
				if got := bytes.Equal(out, px); got != (s == 0) {
					t.Errorf("%s by %g on %d channels: unchanged %v, want %v", k.Name, s, channels, got, s == 0)
				}
				if len(out) != len(px) || !bytes.Equal(out, turnedBy(t, k.Name, s, px, 28, 20, channels)) {
					t.Errorf("%s by %g: not the same twice", k.Name, s)
				}
			}
			if !zero {
				t.Errorf("%s: no strength without drift in %v", k.Name, k.Strengths)
			}
		}
		if !bytes.Equal(px, before) {
			t.Error("the image itself was changed")
		}
	}
}

func TestKnobsDoWhatTheirUnitsSay(t *testing.T) {
	spot := make([]byte, 41*41)
	spot[20*41+20] = 255
	for i := range 25 { // a square of 5 x 5 white pixels, or rounding eats the light
		spot[(18+i/5)*41+18+i%5] = 255
	}
	out := turnedBy(t, KnobBlur, .05, spot, 41, 41, 1)
	if d := mean(out) / mean(spot); d < .97 || d > 1.03 {
		t.Errorf("blur keeps %.3f of the light, want all", d)
	}
	var sum, spread float64 // of the distance from the centre across: sigma is .05*41 and the square's own
	for i, v := range out {
		x := float64(i%41 - 20)
		sum += float64(v)
		spread += float64(v) * x * x
	}
	if got, want := math.Sqrt(spread/sum), math.Sqrt(.05*41*.05*41+2); math.Abs(got-want) > .1*want {
		t.Errorf("blur spreads over %.3f pixels, want %.3f", got, want)
	}
	if out := turnedBy(t, KnobBlur, .05, bytes.Repeat([]byte{90}, 41*41), 41, 41, 1); !bytes.Equal(out, bytes.Repeat([]byte{90}, 41*41)) {
		t.Error("blur darkens the edges of an even image")
	}
	grey := bytes.Repeat([]byte{100}, 3000)
	if got := turnedBy(t, KnobBrightness, .5, grey, 10, 100, 3); got[0] != 150 {
		t.Errorf("half as bright again: %d, want 150", got[0])
	}
	if got := turnedBy(t, KnobBrightness, -1, grey, 10, 100, 3); got[0] != 0 {
		t.Errorf("no light left: %d", got[0])
	}
	noisy, v := turnedBy(t, KnobNoise, .1, grey, 10, 100, 3), 0.
	for _, p := range noisy {
		v += (float64(p) - 100) * (float64(p) - 100) / 3000
	}
	if sd := math.Sqrt(v) / 255; math.Abs(sd-.1) > .01 {
		t.Errorf("noise of standard deviation %.4f, want .1", sd)
	}
	rgb := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	if got, want := turnedBy(t, KnobRotation, 180, rgb, 2, 2, 3), []byte{10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3}; !bytes.Equal(got, want) {
		t.Errorf("half a turn of colours: %v, want %v", got, want)
	}
}

func TestATurnThatMakesNoSenseIsRefused(t *testing.T) {
	px := make([]byte, 4)
	for name, turn := range map[string]func() ([]byte, error){
		"unknown knob":  func() ([]byte, error) { return Turn("fog", 1, px, 2, 2, 1, 0) },
		"not a number":  func() ([]byte, error) { return Turn(KnobNoise, math.NaN(), px, 2, 2, 1, 0) },
		"too far":       func() ([]byte, error) { return Turn(KnobBlur, .6, px, 2, 2, 1, 0) },
		"another shape": func() ([]byte, error) { return Turn(KnobBlur, .1, px, 2, 2, 3, 0) },
	} {
		if out, err := turn(); !errors.Is(err, dg.ErrInvalid) || out != nil {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

package dataset

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

func ramp(h, w, channels int) []byte {
	px := make([]byte, h*w*channels)
	for i := range px {
		px[i] = byte(i%251 + 1)
	}
	return px
}

func augmented(a Augmentation, src []byte, h, w, channels int, seed uint64) []byte {
	dst := make([]byte, len(src))
	a.Apply(dst, src, h, w, channels, rand.New(rand.NewPCG(seed, 1)))
	return dst
}

func TestEachAugmentationDoesWhatItSays(t *testing.T) {
	const h, w = 9, 12
	for _, channels := range []int{1, 3} {
		src := ramp(h, w, channels)
		at := func(px []byte, y, x int) []byte { return px[(clamp(y, h)*w+clamp(x, w))*channels:][:channels] }
		moves := map[[2]int]bool{}
		for seed := range uint64(60) {
			got := augmented(Augmentation{Share: 1, Shift: 2}, src, h, w, channels, seed)
			found := false
			for dy := -2; dy <= 2 && !found; dy++ {
				for dx := -2; dx <= 2 && !found; dx++ {
					same := true
					for y := range h {
						for x := range w {
							same = same && slices.Equal(at(got, y, x), at(src, y-dy, x-dx))
						}
					}
					if found = same; same {
						moves[[2]int{dy, dx}] = true
					}
				}
			}
			if !found {
				t.Fatalf("%d channels, seed %d: no shift of at most 2 gives this image", channels, seed)
			}
			mirror := augmented(Augmentation{Share: 1, Flip: true}, src, h, w, channels, seed)
			for y := range h {
				for x := range w {
					if !slices.Equal(mirror, src) && !slices.Equal(at(mirror, y, x), at(src, y, w-1-x)) {
						t.Fatalf("%d channels, seed %d: neither the image nor its mirror image", channels, seed)
					}
				}
			}
			cut := augmented(Augmentation{Share: 1, Cutout: 4}, src, h, w, channels, seed)
			blanked := 0
			for i := range cut {
				if cut[i] == 0 {
					blanked++
				} else if cut[i] != src[i] {
					t.Fatal("a cutout changed what it did not blank")
				}
			}
			if blanked > 16*channels || blanked < 4*channels {
				t.Fatalf("a cutout of 4 blanked %d values of %d channels", blanked, channels)
			}
		}
		if len(moves) < 15 {
			t.Errorf("%d channels: only %d of 25 shifts in 60 images", channels, len(moves))
		}
	}
}

func TestBrightnessScalesAndNoiseScatters(t *testing.T) {
	grey := slices.Repeat([]byte{100}, 4000)
	for seed := range uint64(50) {
		lit := augmented(Augmentation{Share: 1, Brightness: 0.3}, grey, 40, 100, 1, seed)
		if lit[0] < 70 || lit[0] > 130 || slices.Min(lit) != slices.Max(lit) {
			t.Fatalf("seed %d: %d to %d from 100 within 30%%", seed, slices.Min(lit), slices.Max(lit))
		}
		noisy := augmented(Augmentation{Share: 1, Noise: 0.1}, grey, 40, 100, 1, seed)
		var sum, squares float64
		for _, v := range noisy {
			d := float64(v) - 100
			sum, squares = sum+d, squares+d*d
		}
		if variance := squares / 4000; variance < 560 || variance > 745 || sum/4000 > 2 || sum/4000 < -2 { // 25.5 squared is 650
			t.Fatalf("seed %d: noise of mean %.1f, variance %.0f, want 0 and 650", seed, sum/4000, variance)
		}
	}
}

func TestRotationTurnsAboutTheCentre(t *testing.T) {
	src := make([]byte, 21*21)
	for y := 3; y < 18; y++ {
		for x := 8; x < 13; x++ {
			src[y*21+x] = 200 // a standing bar
		}
	}
	for seed := range uint64(50) {
		got := augmented(Augmentation{Share: 1, Rotation: 30}, src, 21, 21, 1, seed)
		before, after := 0, 0
		for i := range src {
			before, after = before+int(src[i]), after+int(got[i])
		}
		if got[10*21+10] != 200 || float64(after) < 0.93*float64(before) || float64(after) > 1.07*float64(before) {
			t.Fatalf("seed %d: centre %d, %d of %d left", seed, got[10*21+10], after, before)
		}
		if got[10*21+1] != 0 { // at 30 degrees the bar's end comes no further than x = 10 +- 7
			t.Fatalf("seed %d: the bar lies", seed)
		}
	}
}

func TestContrastAndSaturationKeepMeanAndGrey(t *testing.T) {
	src := ramp(16, 16, 3)
	for i := range src {
		src[i] = byte(60 + i*37%120) // far enough from black and white
	}
	figures := func(px []byte) (mean, spread, colour float64) {
		for _, v := range px {
			mean += float64(v) / float64(len(px))
		}
		for i, v := range px {
			spread += math.Abs(float64(v) - mean)
			colour += math.Abs(float64(v) - float64(px[i/3*3]))
		}
		return mean, spread, colour
	}
	mean, spread, colour := figures(src)
	for seed := range uint64(40) {
		m, s, _ := figures(augmented(Augmentation{Share: 1, Contrast: 0.4}, src, 16, 16, 3, seed))
		if s < 0.58*spread || s > 1.42*spread || math.Abs(m-mean) > 1 {
			t.Fatalf("contrast, seed %d: mean %.1f of %.1f, spread %.2f of it", seed, m, mean, s/spread)
		}
		_, _, c := figures(augmented(Augmentation{Share: 1, Saturation: 0.6}, src, 16, 16, 3, seed))
		if c < 0.38*colour || c > 1.62*colour {
			t.Fatalf("saturation, seed %d: colours %.2f of what they were", seed, c/colour)
		}
		grey := slices.Repeat([]byte{10, 10, 10, 200, 200, 200}, 8)
		if got := augmented(Augmentation{Share: 1, Saturation: 0.9}, grey, 4, 4, 3, seed); !slices.Equal(got, grey) {
			t.Fatalf("saturation gave grey a colour: %v", got)
		}
		if got := augmented(Augmentation{Share: 1, Contrast: 0.9}, grey, 4, 4, 3, seed); seed == 0 && slices.Equal(got, grey) {
			t.Fatal("contrast changed nothing")
		}
	}
}

// The fixed-point rotation against the formula in float64.
func TestRotationIsBilinear(t *testing.T) {
	const h, w = 13, 17
	for _, channels := range []int{1, 3} {
		src, dst := ramp(h, w, channels), make([]byte, h*w*channels)
		for k := range 60 {
			angle := float64(k-30) / 20
			tn := turn{sin: math.Sin(angle), cos: math.Cos(angle), dx: k%5 - 2, dy: k%3 - 1, scaleX: float64(1 - 2*(k%2))}
			if k == 30 {
				continue // no rotation: pixels are copied
			}
			tn.apply(dst, src, h, w, channels)
			for i, got := range dst {
				y, x, c := i/channels/w, i/channels%w, i%channels
				px, py := float64(x)-float64(w-1)/2-float64(tn.dx), float64(y)-float64(h-1)/2-float64(tn.dy)
				sx, sy := tn.scaleX*(tn.cos*px+tn.sin*py)+float64(w-1)/2, tn.cos*py-tn.sin*px+float64(h-1)/2
				at := func(y, x int) float64 { return float64(src[(clamp(y, h)*w+clamp(x, w))*channels+c]) }
				x0, y0 := math.Floor(sx), math.Floor(sy)
				fx, fy, l, u := sx-x0, sy-y0, int(x0), int(y0)
				want := (1-fy)*((1-fx)*at(u, l)+fx*at(u, l+1)) + fy*((1-fx)*at(u+1, l)+fx*at(u+1, l+1))
				if math.Abs(float64(got)-want) > 2.6 { // 256ths of a pixel, at steps of up to 250 levels
					t.Fatalf("%d channels, angle %.2f, pixel %d: %d, want %.2f", channels, angle, i, got, want)
				}
			}
		}
	}
}

func TestTheShareThatIsVariedIsTheShareAskedFor(t *testing.T) {
	src := ramp(8, 8, 1)
	dst := make([]byte, len(src))
	rng, varied := rand.New(rand.NewPCG(1, 2)), 0
	for range 2000 {
		if (Augmentation{Share: 0.3, Shift: 2}).Apply(dst, src, 8, 8, 1, rng) {
			varied++
		} else if !slices.Equal(dst, src) {
			t.Fatal("said not to be varied, but it is")
		}
	}
	if varied < 540 || varied > 660 {
		t.Errorf("%d of 2000 varied, want about 600", varied)
	}
	for _, off := range []Augmentation{{}, {Share: 1}, {Shift: 3}} {
		if off.Any() || off.Apply(dst, src, 8, 8, 1, nil) {
			t.Errorf("%+v varies something", off)
		}
	}
	all := Augmentation{Share: 1, Shift: 2, Flip: true, Rotation: 10, Brightness: 0.2, Contrast: 0.2, Noise: 0.05, Cutout: 3}
	if !slices.Equal(augmented(all, src, 8, 8, 1, 7), augmented(all, src, 8, 8, 1, 7)) || slices.Equal(augmented(all, src, 8, 8, 1, 7), augmented(all, src, 8, 8, 1, 8)) {
		t.Error("the generator's state does not decide the image")
	}
}

func TestWhatMakesNoSenseForASetIsLeftOutAndNamed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		classes dg.Classes
		flip    bool
	}{
		{"garments are flipped", dg.FashionMNIST, true},
		{"food is flipped", dg.Food11, true},
		{"digits are not", dg.Classes{"0", "1", "2"}, false},
		{"letters are not", dg.Classes{"A", "B"}, false},
		{"arrows are not", dg.Classes{"Left turn", "Straight on"}, false},
		{"brightness has no side", dg.Classes{"bright", "leftover"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, why := Augmentation{Share: 1, Flip: true}.Sensible(tt.classes, 28, 28, 1)
			if got.Flip != tt.flip || (len(why) == 0) != tt.flip {
				t.Errorf("%+v, %q", got, why)
			}
		})
	}
	colours := Augmentation{Share: 1, Contrast: 0.2, Saturation: 0.2}
	if got, why := colours.Sensible(dg.Food11, 64, 64, 3); got != colours || len(why) != 0 {
		t.Errorf("photos: %+v, %q", got, why)
	}
	if got, why := colours.Sensible(dg.FashionMNIST, 28, 28, 1); got.Saturation != 0 || got.Contrast != 0.2 || len(why) != 1 {
		t.Errorf("grey images: %+v, %q", got, why)
	}
	got, why := Augmentation{Share: 1, Shift: 20, Cutout: 20}.Sensible(dg.FashionMNIST, 28, 28, 1)
	if got.Shift != 9 || got.Cutout != 14 || len(why) != 2 {
		t.Errorf("%+v, %q: want what leaves most of the image", got, why)
	}
}

func TestAugmentationReportsEveryFault(t *testing.T) {
	err := Augmentation{Share: 2, Shift: -1, Rotation: 200, Brightness: 1, Contrast: 1, Saturation: -1, Noise: 2, Cutout: -1}.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"share", "shift", "rotation", "brightness", "contrast", "saturation", "noise", "cutout"} {
		if !strings.Contains(err.Error(), want+" ") {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
	if err := (Augmentation{Share: 0.5, Shift: 2, Flip: true, Rotation: 15, Brightness: 0.2, Noise: 0.1, Cutout: 8}).Validate(); err != nil {
		t.Error(err)
	}
}

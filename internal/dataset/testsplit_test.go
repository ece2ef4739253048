package dataset

import (
	"errors"
	"image"
	"image/color"
	"math"
	"slices"
	"testing"

	dg "driftgate"
)

func TestTheTestSplitIsReadByItself(t *testing.T) {
	ctx, st := t.Context(), memoryStore{}
	set := colourSet()
	ref, err := Save(ctx, st, set)
	if err != nil {
		t.Fatal(err)
	}
	folder := set.Name + "/" + set.Fingerprint()[:12] + "/"
	for _, name := range fileNames {
		delete(st, folder+"train-"+name)
	}
	split, err := OpenTest(ctx, st, ref)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(split.Labels, set.Test.Labels) || !slices.Equal(split.IDs, set.Test.IDs) || !slices.Equal(split.Classes, set.Classes) || split.Ref() != ref {
		t.Errorf("%+v, want the test split of %+v", split, set)
	}
	px, err := split.Pixels(ctx)
	if err != nil || !slices.Equal(px, set.Test.Pixels) {
		t.Errorf("pixels differ, %v", err)
	}
	st[folder+"test-"+labelsName] = st[folder+"test-"+imagesName]
	if _, err := OpenTest(ctx, st, ref); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("labels of another shape: %v, want invalid", err)
	}
	delete(st, folder+"test-"+imagesName)
	if _, err := split.Pixels(ctx); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("images that are gone: %v, want not found", err)
	}
	if _, err := OpenTest(ctx, st, "colours@000000000000"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an unknown set: %v, want not found", err)
	}
	if _, err := OpenTest(ctx, st, "no ref"); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("no ref: %v, want invalid", err)
	}
}

func TestBrightnessIsTheMeanGrey(t *testing.T) {
	large := image.NewGray(image.Rect(3, 5, 303, 405)) // more pixels than are looked at: the lower half is white
	for i := range large.Pix {
		large.Pix[i] = byte(255 * (i / (len(large.Pix) / 2)))
	}
	if got := Brightness(large); math.Abs(got-.5) > .01 {
		t.Errorf("half white: %g", got)
	}
	for c, want := range map[color.Color]float64{color.White: 1, color.Black: 0, color.Gray{51}: .2, color.RGBA{0, 255, 0, 255}: 150. / 255} {
		img := image.NewRGBA(image.Rect(0, 0, 10, 10))
		for i := range 100 {
			img.Set(i%10, i/10, c)
		}
		if got := Brightness(img); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %g, want %g", c, got, want)
		}
	}
	if got := Brightness(image.NewGray(image.Rectangle{})); got != 0 {
		t.Errorf("no image: %g", got)
	}
}

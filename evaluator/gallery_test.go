package evaluator

import (
	"bytes"
	"errors"
	"image/png"
	"math/rand/v2"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
)

func TestAGalleryIsPagedThroughOnce(t *testing.T) {
	s := newShop(t)
	e := s.evaluator(Options{})
	study, err := e.Study(t.Context(), []dg.ModelRef{baseRef, harmedRef}, day)
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range study.Pairs[0].Suites {
		for kind, want := range map[Discord]int{OnlyA: suite.OnlyA, OnlyB: suite.OnlyB, BothWrong: suite.BothWrong} {
			seen, after := map[string]bool{}, ""
			for {
				page, err := e.Discordant(t.Context(), baseRef, harmedRef, day, suite.Suite, kind, after, 7)
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range page {
					a, b := x.A.Answer == x.Label, x.B.Answer == x.Label
					if seen[x.ID] || x.ID <= after || a != (kind == OnlyA) || b != (kind == OnlyB) || !(x.A.Confidence > 0 && x.A.Confidence <= 1) {
						t.Fatalf("%s of %s after %s: %+v", kind, suite.Suite, after, x)
					}
					seen[x.ID], after = true, x.ID
				}
				if len(page) < 7 {
					break
				}
			}
			if len(seen) != want {
				t.Errorf("%s of %s: %d images, want the study's %d", kind, suite.Suite, len(seen), want)
			}
		}
	}
}

func TestEveryShownImageCanBeSeen(t *testing.T) {
	ctx := t.Context()
	s := newShop(t)
	e := s.evaluator(Options{})
	for _, suite := range []string{KindHeldout, KindTest} {
		page, err := e.Discordant(ctx, baseRef, harmedRef, day, suite, OnlyA, "", 0)
		if err != nil || len(page) == 0 {
			t.Fatalf("%s: %d, %v", suite, len(page), err)
		}
		x := page[0]
		body, kind, err := e.Picture(ctx, baseRef, suite, x.ID)
		if err != nil || kind != "image/png" {
			t.Fatalf("%s: %s, %v", suite, kind, err)
		}
		if suite == KindHeldout && (x.Bucket != buckets.Clean || !bytes.Equal(body, s.shelf.objects[x.Bucket+"/"+x.Key])) {
			t.Errorf("the picture of %+v is not the object", x)
		}
		img, err := png.Decode(bytes.NewReader(body))
		if err != nil || img.Bounds().Dx() != dataset.Side {
			t.Errorf("%s: %v, %v", suite, img, err)
		}
		if _, _, err := e.Picture(ctx, baseRef, suite, "nobody.png"); !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("%s: a picture that is not there: %v", suite, err)
		}
	}
	page, err := e.Discordant(ctx, baseRef, harmedRef, day, KindHeldout, OnlyA, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	s.shelf.objects[page[0].Bucket+"/"+page[0].Key] = []byte("<script>alert(1)</script>")
	if body, _, err := e.Picture(ctx, baseRef, KindHeldout, page[0].ID); !errors.Is(err, dg.ErrInvalid) || body != nil {
		t.Errorf("an object that is no image: %q, %v", body, err)
	}
	if _, _, err := e.Picture(ctx, baseRef, "hats", "x"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an unknown suite: %v", err)
	}
	if _, err := e.Discordant(ctx, baseRef, harmedRef, day, KindTest, "both_right", "", 0); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("an unknown kind: %v", err)
	}
	if _, err := e.Discordant(ctx, baseRef, harmedRef, day, KindTest, OnlyA, "", maxShown+1); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("a page too long: %v", err)
	}
}

func TestDifferencesOfASlotFavourTheBetterVersion(t *testing.T) {
	s := newShop(t)
	e := s.evaluator(Options{})
	mean := func(against, subject dg.ModelRef) float64 {
		t.Helper()
		d, pairs, err := e.Differences(t.Context(), against, subject, day)
		if err != nil || len(d) == 0 || pairs < 600 {
			t.Fatalf("%d blocks of %d pairs, %v", len(d), pairs, err)
		}
		sum := 0.
		for _, x := range d {
			sum += x / float64(len(d))
		}
		return sum
	}
	c, err := e.Judge(t.Context(), baseRef, harmedRef, day)
	if err != nil {
		t.Fatal(err)
	}
	worse, better := mean(baseRef, harmedRef), mean(harmedRef, baseRef)
	if worse < .03 || worse != -better {
		t.Errorf("the harmed version against the base %g, the other way round %g", worse, better)
	}
	if d := worse + c.Difference; d > .02 || d < -.02 {
		t.Errorf("blocks say %g, the judgement %g", -worse, c.Difference)
	}
	d, pairs, err := e.Differences(t.Context(), baseRef, harmedRef, dg.Interval{Start: day.End, End: day.End.Add(1)})
	if d != nil || pairs != 0 || err != nil {
		t.Errorf("an empty slot: %v, %d, %v", d, pairs, err)
	}
	if _, _, err := e.Differences(t.Context(), baseRef, "sha256:00", day); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an unknown version: %v", err)
	}
}

// Any page size must show the same images.
func TestPagesDoNotDependOnTheirSize(t *testing.T) {
	s := newShop(t)
	e := s.evaluator(Options{})
	whole, err := e.Discordant(t.Context(), baseRef, secondRef, day, KindTest, BothWrong, "", maxShown)
	if err != nil || len(whole) < 5 {
		t.Fatalf("%d images, %v", len(whole), err)
	}
	rng, after, got := rand.New(rand.NewPCG(1, 2)), "", 0
	for got < len(whole) {
		page, err := e.Discordant(t.Context(), baseRef, secondRef, day, KindTest, BothWrong, after, 1+rng.IntN(4))
		if err != nil || len(page) == 0 {
			t.Fatalf("after %d: %v", got, err)
		}
		for _, x := range page {
			if x != whole[got] {
				t.Fatalf("image %d is %+v, want %+v", got, x, whole[got])
			}
			got, after = got+1, x.ID
		}
	}
}

package ledger

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	dg "driftgate"
)

func drain[T any](t *testing.T, stream iter.Seq2[T, error]) []T {
	t.Helper()
	return get[[]T](t)(All(stream))
}

const versionA, versionB = dg.ModelRef("sha256:aa"), dg.ModelRef("sha256:bb")

func TestPredictionsComeBackByID(t *testing.T) {
	ctx, l := t.Context(), open(t)
	const n = 2*predictionsPerPage + 7 // more than two pages
	all := make([]Prediction, n)
	for i := range all {
		all[i] = Prediction{ID: fmt.Sprintf("%06d.png", n-i), Class: i % 10, Confidence: float64(i) / n}
	}
	must(t, l.SavePredictions(ctx, versionA, "heldout", t0, all[:n/2]))
	must(t, l.SavePredictions(ctx, versionA, "heldout", t0, all[n/2:]))
	must(t, l.SavePredictions(ctx, versionB, "heldout", t0, []Prediction{{ID: "b.png", Class: 3, Confidence: 1}}))
	must(t, l.SavePredictions(ctx, versionA, "look-alikes@1", t0, []Prediction{{ID: "b.png", Class: 4, Confidence: 1}}))
	slices.Reverse(all)
	if got := drain(t, l.Predictions(ctx, versionA, "heldout")); !slices.Equal(got, all) {
		t.Errorf("%d predictions, want the %d saved, by id", len(got), n)
	}
	if got := drain(t, l.Predictions(ctx, versionB, "heldout")); len(got) != 1 || got[0].Class != 3 {
		t.Errorf("another version's: %+v", got)
	}
	if got := drain(t, l.Predictions(ctx, versionB, "look-alikes@1")); len(got) != 0 {
		t.Errorf("of a suite it never saw: %+v", got)
	}
}

func TestAnswersToAnImageThatChangedAreForgotten(t *testing.T) {
	ctx, l := t.Context(), open(t)
	for _, v := range []dg.ModelRef{versionA, versionB} {
		must(t, l.SavePredictions(ctx, v, "heldout", t0, []Prediction{{"a", 1, .5}, {"b", 2, .5}, {"c", 3, .5}}))
	}
	must(t, l.SaveSuiteImages(ctx, "heldout", []SuiteImage{{ID: "a", Width: 1, Height: 1}, {ID: "b", Width: 1, Height: 1}}))
	must(t, l.ForgetPredictions(ctx, "b", "unknown"))
	must(t, l.ForgetPredictions(ctx))
	for _, v := range []dg.ModelRef{versionA, versionB} {
		if got, want := drain(t, l.Predictions(ctx, v, "heldout")), []Prediction{{"a", 1, .5}, {"c", 3, .5}}; !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", v, got, want)
		}
	}
	if got := drain(t, l.SuiteImages(ctx, "heldout")); len(got) != 1 || got[0].ID != "a" {
		t.Errorf("images %+v", got)
	}
	must(t, l.PrunePredictions(ctx, 4)) // the sets know how many are left: two each
	if got := drain(t, l.Predictions(ctx, versionA, "heldout")); len(got) != 2 {
		t.Errorf("pruned at 4 of 4: %+v", got)
	}
}

func TestALaterPredictionReplacesAnEarlierOne(t *testing.T) {
	ctx, l := t.Context(), open(t)
	must(t, l.SavePredictions(ctx, versionA, "test", t0, []Prediction{{"a", 1, .5}, {"b", 1, .5}, {"a", 2, .6}}))
	must(t, l.SavePredictions(ctx, versionA, "test", t0, []Prediction{{"b", 7, .7}}))
	if got, want := drain(t, l.Predictions(ctx, versionA, "test")), []Prediction{{"a", 2, .6}, {"b", 7, .7}}; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestPredictionsThatAreNoneAreRefused(t *testing.T) {
	ctx, l := t.Context(), open(t)
	good := Prediction{"a", 1, .5}
	for name, save := range map[string]func() error{
		"no version":       func() error { return l.SavePredictions(ctx, "", "test", t0, []Prediction{good}) },
		"no suite":         func() error { return l.SavePredictions(ctx, versionA, "", t0, []Prediction{good}) },
		"no id":            func() error { return l.SavePredictions(ctx, versionA, "test", t0, []Prediction{good, {"", 1, .5}}) },
		"no class":         func() error { return l.SavePredictions(ctx, versionA, "test", t0, []Prediction{{"a", -1, .5}}) },
		"not a number":     func() error { return l.SavePredictions(ctx, versionA, "test", t0, []Prediction{{"a", 1, math.NaN()}}) },
		"a percentage":     func() error { return l.SavePredictions(ctx, versionA, "test", t0, []Prediction{{"a", 1, 50}}) },
		"image: no suite":  func() error { return l.SaveSuiteImages(ctx, "", []SuiteImage{{"a", .5, 28, 28}}) },
		"image: no width":  func() error { return l.SaveSuiteImages(ctx, "test", []SuiteImage{{"a", .5, 0, 28}}) },
		"image: too light": func() error { return l.SaveSuiteImages(ctx, "test", []SuiteImage{{"a", 255, 28, 28}}) },
	} {
		if err := save(); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if got := drain(t, l.Predictions(ctx, versionA, "test")); len(got) != 0 {
		t.Errorf("something was kept of what was refused: %+v", got)
	}
}

func TestThePredictionsOfLongAgoAreForgottenFirst(t *testing.T) {
	ctx, l := t.Context(), open(t)
	set := func(version dg.ModelRef, suite string, hour, n int) {
		t.Helper()
		ps := make([]Prediction, n)
		for i := range ps {
			ps[i] = Prediction{fmt.Sprint(i), 0, 1}
		}
		must(t, l.SavePredictions(ctx, version, suite, t0.Add(time.Duration(hour)*time.Hour), ps))
		must(t, l.SaveSuiteImages(ctx, suite, []SuiteImage{{"0", .25, 28, 32}}))
	}
	set(versionA, "old", 0, 30)
	set(versionB, "heldout", 1, 30)
	set(versionA, "heldout", 2, 30)
	left := func() (out []int) {
		for _, s := range []struct {
			v     dg.ModelRef
			suite string
		}{{versionA, "old"}, {versionB, "heldout"}, {versionA, "heldout"}} {
			out = append(out, len(drain(t, l.Predictions(ctx, s.v, s.suite))))
		}
		return out
	}
	must(t, l.PrunePredictions(ctx, 90))
	if got := left(); !slices.Equal(got, []int{30, 30, 30}) {
		t.Errorf("with room for all: %v", got)
	}
	must(t, l.PrunePredictions(ctx, 60))
	if got := left(); !slices.Equal(got, []int{0, 30, 30}) {
		t.Errorf("with room for two: %v", got)
	}
	if old, kept := drain(t, l.SuiteImages(ctx, "old")), drain(t, l.SuiteImages(ctx, "heldout")); len(old) != 0 || len(kept) != 1 || kept[0] != (SuiteImage{"0", .25, 28, 32}) {
		t.Errorf("images of the suite that is gone %+v, of the one that is left %+v", old, kept)
	}
	set(versionB, "heldout", 3, 10) // written anew: the youngest now
	must(t, l.PrunePredictions(ctx, 45))
	if got := left(); !slices.Equal(got, []int{0, 30, 0}) {
		t.Errorf("with room for one: %v", got)
	}
	set(versionA, "new", 4, 5) // must not meet rows of a set whose number it inherits
	if got := drain(t, l.Predictions(ctx, versionA, "new")); len(got) != 5 {
		t.Errorf("a new set holds %d, want 5", len(got))
	}
}

package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

func TestFiguresComeBackAsPublished(t *testing.T) {
	ctx, l := t.Context(), open(t)
	inputs := json.RawMessage(`{"strata":[` + strings.Repeat(`{"k":1},`, 1000) + `{"k":2}]}`)
	var want []string
	const n = 2*figuresPerPage + 7
	for i := range n {
		f := Figure{Model: "m", ModelVersion: "v1", Window: "1h", End: t0.Add(time.Duration(i) * time.Minute), At: t0.Add(time.Duration(n-i) * time.Hour),
			Inputs: inputs, Result: json.RawMessage(fmt.Sprintf(`{"accuracy":%d}`, i))}
		must(t, l.AddFigures(ctx, f, Figure{Model: "other", Window: "1h", End: f.End, At: f.At, Inputs: f.Inputs, Result: f.Result}))
		if i > 0 {
			want = append(want, string(f.Result))
		}
	}
	iv := dg.Interval{Start: t0.Add(time.Minute), End: t0.Add(time.Hour * 24 * 365)}
	var got []string
	for f, err := range l.Figures(ctx, "m", iv) {
		must(t, err)
		if string(f.Inputs) != string(inputs) || f.Model != "m" || f.ModelVersion != "v1" || f.Window != "1h" {
			t.Fatalf("figure %+v", f)
		}
		got = append(got, string(f.Result))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d figures, want %d in the order of their ends", len(got), len(want))
	}
	var size int
	must(t, l.read.QueryRowContext(ctx, `SELECT MAX(LENGTH(inputs)) FROM figures`).Scan(&size))
	if size > len(inputs)/10 {
		t.Errorf("%d bytes kept of %d: want them compressed", size, len(inputs))
	}
	must(t, l.PruneFigures(ctx, t0.Add(11*time.Hour))) // the ten newest windows were published first
	left := 0
	for _, err := range l.Figures(ctx, "m", iv) {
		must(t, err)
		left++
	}
	if left != len(want)-10 {
		t.Errorf("%d left after pruning, want %d", left, len(want)-10)
	}
	for name, f := range map[string]Figure{"model": {Window: "1h", End: t0, At: t0}, "window": {Model: "m", End: t0, At: t0}, "end": {Model: "m", Window: "1h", At: t0}} {
		if err := l.AddFigures(ctx, f); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("without %s: %v, want invalid", name, err)
		}
	}
}

func TestAFigurePublishedTwiceIsKeptOnce(t *testing.T) {
	ctx, l := t.Context(), open(t)
	f := Figure{Model: "m", ModelVersion: "v1", Window: "1h", End: t0, At: t0, Inputs: json.RawMessage(`1`), Result: json.RawMessage(`1`)}
	again := f
	again.Result = json.RawMessage(`2`)
	must(t, l.AddFigures(ctx, f, again))
	var got []Figure
	for f, err := range l.Figures(ctx, "m", dg.Interval{Start: t0, End: t0.Add(1)}) {
		must(t, err)
		got = append(got, f)
	}
	if len(got) != 1 || string(got[0].Result) != "2" {
		t.Errorf("figures = %+v, want the later one alone", got)
	}
}

func TestFeatureSumsAreMerged(t *testing.T) {
	ctx, l := t.Context(), open(t)
	put := func(cell time.Time, sums string) error {
		return l.PutFeatures(ctx, FeatureCell{ModelVersion: "v1", Cell: cell, Sums: []byte(sums)}, func(old []byte) ([]byte, error) {
			if string(old) == "broken" {
				return nil, dg.ErrIncomplete
			}
			return []byte(string(old) + "+" + sums), nil
		})
	}
	for i, s := range []string{"a", "b", "c"} {
		must(t, put(t0.Add(time.Duration(i/2)*time.Hour), s))
	}
	cells := get[[]FeatureCell](t)(l.FeatureCells(ctx, "v1", dg.Interval{Start: t0, End: t0.Add(2 * time.Hour)}))
	if len(cells) != 2 || string(cells[0].Sums) != "a+b" || string(cells[1].Sums) != "c" || !cells[1].Cell.Equal(t0.Add(time.Hour)) {
		t.Errorf("cells = %q", cells)
	}
	must(t, put(t0.Add(-time.Hour), "broken"))
	if err := put(t0.Add(-time.Hour), "x"); !errors.Is(err, dg.ErrIncomplete) {
		t.Errorf("merge refused: %v", err)
	}
	if err := l.PutFeatures(ctx, FeatureCell{Cell: t0}, nil); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("without version: %v", err)
	}
	must(t, l.PruneFeatures(ctx, t0.Add(time.Hour)))
	if cells := get[[]FeatureCell](t)(l.FeatureCells(ctx, "v1", dg.Interval{End: t0.Add(2 * time.Hour)})); len(cells) != 1 || string(cells[0].Sums) != "c" {
		t.Errorf("after pruning: %q", cells)
	}
}

func TestDriftReference(t *testing.T) {
	ctx, l := t.Context(), open(t)
	if _, err := l.DriftReference(ctx, "m"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("before it is set: %v", err)
	}
	must(t, l.SetDriftReference(ctx, "m", json.RawMessage(`{"a":1}`)))
	must(t, l.SetDriftReference(ctx, "m", json.RawMessage(`{"a":2}`)))
	if got := get[json.RawMessage](t)(l.DriftReference(ctx, "m")); string(got) != `{"a":2}` {
		t.Errorf("reference = %s", got)
	}
}

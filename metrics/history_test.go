package metrics

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/ledger/ledgertest"
)

// figures reads what is kept.
func (w *world) figures() (out []ledger.Figure) {
	w.t.Helper()
	for f, err := range w.ledger.Figures(w.t.Context(), "garments", dg.Interval{End: endOfTime}) {
		must(w.t, err)
		out = append(out, f)
	}
	return out
}

// hourly fills hours from from to to, with a few labels each.
func (w *world) hourly(from, to int) {
	w.t.Helper()
	for h := from; h < to; h++ {
		at := noon.Add(time.Duration(h) * time.Hour)
		w.fill(batch{version: refA, stratum: dg.Random, at: at.Add(time.Minute), interval: at, n: 12, m: 4, k: 3, confidence: .95},
			batch{version: refA, stratum: dg.LowConfidence, at: at.Add(time.Minute), interval: at, n: 3, m: 3, k: 1, class: "Coat", confidence: .5})
	}
}

func TestWindowsAreKeptAsPublishedAndReplayToTheSameDigits(t *testing.T) {
	sequential(t)
	ledgertest.Each(t, func(t *testing.T, l *ledger.Ledger) {
		keptAndReplayed(t, worldOn(t, l, Options{MinLabels: 5, Windows: []time.Duration{time.Hour, 48 * time.Hour}}))
	})
}

func keptAndReplayed(t *testing.T, w *world) {
	t.Helper()
	w.metrics.SetChampion(champion(refA, noon), nil)
	w.snapshot()
	if n := len(w.figures()); n != 0 {
		t.Errorf("%d windows without predictions are kept", n)
	}
	w.hourly(0, 4)
	published := map[string]string{}
	for minute := 60; minute < 240; minute += 10 {
		w.now = noon.Add(time.Duration(minute) * time.Minute)
		s := w.snapshot()
		for _, a := range s.Windows {
			b, err := json.Marshal(a)
			must(t, err)
			published[a.Window+s.At.String()] = string(b)
		}
	}
	count := map[string]int{}
	for _, f := range w.figures() {
		count[f.Window]++
		if got := published[f.Window+f.At.String()]; got != string(f.Result) {
			t.Errorf("%s at %s: kept %s\npublished %s", f.Window, f.At, f.Result, got)
		}
	}
	if count["1h"] != 6 || count["2d"] != 3 { // each half hour, and each forty-eighth of two days
		t.Errorf("kept %v", count)
	}
	w.hourly(4, 6) // what comes later changes nothing that is kept
	r, err := w.metrics.Replay(t.Context(), dg.Interval{})
	if err != nil || r.Windows != 9 || r.Slots != 0 || !r.From.Equal(noon.Add(time.Hour)) || !r.To.Equal(noon.Add(210*time.Minute)) {
		t.Errorf("replay %+v, %v", r, err)
	}
	r, err = w.metrics.Replay(t.Context(), dg.Interval{Start: noon.Add(90 * time.Minute), End: noon.Add(150 * time.Minute)})
	if err != nil || r.Windows != 3 {
		t.Errorf("replay of an hour %+v, %v", r, err)
	}
	if _, err := w.metrics.Replay(t.Context(), dg.Interval{Start: noon, End: noon.Add(-1)}); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestARestartKeepsNoWindowTwice(t *testing.T) {
	sequential(t)
	w := newWorld(t, Options{Windows: []time.Duration{time.Hour, 24 * time.Hour}})
	c := champion(refA, noon)
	w.metrics.SetChampion(c, nil)
	w.hourly(0, 2)
	w.hour(1)
	w.snapshot()
	for range 3 {
		w.now = w.now.Add(5 * time.Minute)
		w.restart(c)
		w.snapshot()
	}
	if n := len(w.figures()); n != 2 {
		t.Errorf("%d figures, want one a window", n)
	}
	w.now = noon.Add(90 * time.Minute)
	w.restart(c)
	w.snapshot()
	if n := len(w.figures()); n != 4 {
		t.Errorf("%d figures in the next half hour, want two more", n)
	}
}

func TestReplayNamesWhatWasChanged(t *testing.T) {
	sequential(t)
	for _, tt := range []struct {
		name  string
		forge func(f *ledger.Figure)
		want  string
		kind  error
	}{
		{"another digit in a result", func(f *ledger.Figure) {
			f.Result = json.RawMessage(strings.Replace(string(f.Result), `"accuracy":0.`, `"accuracy":0.1`, 1))
		}, "recomputed", dg.ErrConflict},
		{"one prediction more in the inputs", func(f *ledger.Figure) {
			f.Inputs = json.RawMessage(strings.Replace(string(f.Inputs), `"sums":[[3,3,`, `"sums":[[4,3,`, 1))
		}, "recomputed", dg.ErrConflict},
		{"inputs of another window", func(f *ledger.Figure) { f.End = f.End.Add(time.Minute) }, "its inputs are those", dg.ErrConflict},
		{"inputs of a newer driftgate", func(f *ledger.Figure) {
			f.Inputs = json.RawMessage(strings.Replace(string(f.Inputs), `{"rules":1`, `{"rules":9`, 1))
		}, "rules 9", dg.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{Windows: []time.Duration{24 * time.Hour}, MinLabels: 5})
			w.metrics.SetChampion(champion(refA, noon), nil)
			w.hourly(0, 2)
			w.hour(2)
			w.snapshot()
			f := w.figures()[0]
			if _, err := w.metrics.Replay(t.Context(), dg.Interval{}); err != nil {
				t.Fatal(err)
			}
			tt.forge(&f)
			f.At = f.At.Add(time.Second)
			must(t, w.ledger.AddFigures(t.Context(), f))
			r, err := w.metrics.Replay(t.Context(), dg.Interval{})
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "window 24h") || r.Windows != 1 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestOldFiguresAndFeaturesAreForgotten(t *testing.T) {
	sequential(t)
	w := newWorld(t, Options{Windows: []time.Duration{time.Hour}, Keep: 3 * time.Hour, Drift: DriftOptions{ReferencePredictions: 10, Window: time.Hour}})
	w.metrics.SetChampion(champion(refA, noon), nil)
	w.hourly(0, 30)
	keep := func(b []byte) ([]byte, error) { return b, nil }
	for _, h := range []int{-60, 29} {
		must(t, w.ledger.PutFeatures(t.Context(), ledger.FeatureCell{ModelVersion: refA.Short(), Cell: noon.Add(time.Duration(h) * time.Hour), Sums: []byte("x")}, keep))
	}
	for h := 1; h < 30; h++ {
		w.hour(h)
		w.snapshot()
	}
	fs := w.figures()
	if len(fs) != 4 || fs[0].At.Before(noon.Add(26*time.Hour)) {
		t.Errorf("%d figures are kept, the oldest of %s", len(fs), fs[0].At)
	}
	cells, err := w.ledger.FeatureCells(t.Context(), refA.Short(), dg.Interval{End: endOfTime})
	if err != nil || len(cells) != 1 {
		t.Errorf("%d cells of features, %v; want the new one", len(cells), err)
	}
}

// A ledger that cannot take the history must not take the figures with it.
func TestFiguresArePublishedEvenWhenTheyCannotBeKept(t *testing.T) {
	w := newWorld(t, Options{Windows: []time.Duration{time.Hour}, MinLabels: 1})
	w.metrics.SetChampion(champion(refA, noon), nil)
	w.hourly(0, 1)
	w.hour(1)
	w.metrics.o.Model = "" // the ledger refuses a figure without a model
	s, err := w.metrics.Refresh(t.Context())
	if !errors.Is(err, dg.ErrInvalid) || len(s.Windows) != 1 || len(w.metrics.Snapshot().Windows) != 1 || len(s.Windows[0].Estimates) == 0 {
		t.Errorf("%v, %d windows", err, len(w.metrics.Snapshot().Windows))
	}
}

func TestHistoryCanBeOff(t *testing.T) {
	w := newWorld(t, Options{RecordEvery: -1})
	w.metrics.SetChampion(champion(refA, noon), nil)
	w.hourly(0, 1)
	w.hour(1)
	w.snapshot()
	if n := len(w.figures()); n != 0 {
		t.Errorf("%d figures", n)
	}
}

func TestPlansAskForWhatTheWindowShows(t *testing.T) {
	sequential(t)
	w := newWorld(t, Options{})
	w.metrics.SetChampion(champion(refA, noon), nil)
	if _, err := w.metrics.Plan(t.Context(), time.Hour, .02); !errors.Is(err, dg.ErrTooFewSamples) {
		t.Errorf("a window without predictions: %v", err)
	}
	w.fill(batch{version: refA, stratum: dg.Random, at: noon.Add(30 * time.Minute), interval: noon, n: 2000, m: 50, k: 45},
		batch{version: refB, stratum: dg.Random, at: noon.Add(30 * time.Minute), interval: noon, n: 100, m: 100, k: 0})
	w.hour(1)
	p, err := w.metrics.Plan(t.Context(), time.Hour, .05)
	if err != nil || p.NowLabels != 50 || p.RandomLabels <= 50 || p.RandomLabels > 250 || p.HalfWidth > .05 || p.NowHalfWidth < .05 || p.PerDay != 24*float64(p.RandomLabels) {
		t.Errorf("plan %+v, %v", p, err)
	}
	for _, tt := range []struct {
		window time.Duration
		half   float64
	}{{0, .05}, {time.Hour, 0}, {time.Hour, 1}, {-time.Hour, .05}} {
		if _, err := w.metrics.Plan(t.Context(), tt.window, tt.half); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("plan %s %g: %v", tt.window, tt.half, err)
		}
	}
}

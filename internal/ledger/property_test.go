package ledger

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	dg "driftgate"
)

// walk does random operations on a ledger beside what must hold.
type walk struct {
	t   *testing.T
	l   *Ledger
	rng *rand.Rand
	now time.Time

	seen    map[string]Record // the record after the last look
	labels  map[string]string // every label that was ever acknowledged
	flagged map[string]bool
}

func (w *walk) id() string { return fmt.Sprintf("s%02d.png", w.rng.IntN(30)) }

// tolerate fails the test unless err is nil or one of the kinds.
func (w *walk) tolerate(err error, kinds ...error) bool {
	w.t.Helper()
	if err != nil && !slices.ContainsFunc(kinds, func(k error) bool { return errors.Is(err, k) }) {
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *walk) step() {
	ctx, id := w.t.Context(), w.id()
	w.now = w.now.Add(time.Duration(w.rng.IntN(90)) * time.Second)
	class := []string{"Trouser", "Dress", "Bag"}[w.rng.IntN(3)]
	switch w.rng.IntN(9) {
	case 0, 1:
		s := sample(id, w.now, float64(w.rng.IntN(1000))/1000)
		if w.rng.IntN(9) == 0 {
			s.Confidence = math.NaN()
		}
		s.Flagged = w.rng.IntN(4) == 0
		if w.rng.IntN(4) == 0 {
			s.CorrectedClass = class
		}
		s.Stratum, s.SamplingFraction = dg.Random, .5 // production never says what was decided
		w.tolerate(w.l.Captured(ctx, s, s))
		w.flagged[id] = w.flagged[id] || s.Flagged
	case 2:
		rs := get[[]Record](w.t)(All(w.l.Uncurated(ctx, w.now)))
		var ds []Decision
		for _, r := range rs {
			ds = append(ds, Decision{ID: r.ID(), Stratum: r.stratumByTags(), SamplingFraction: .25, Interval: dg.Slot(r.Timestamp, time.Hour).Start, Selected: w.rng.IntN(2) == 0})
		}
		w.tolerate(w.l.Decide(ctx, ds))
		w.tolerate(w.l.Decide(ctx, ds))
	case 3:
		var ds []Decision
		for _, r := range get[[]Record](w.t)(All(w.l.LateFlags(ctx, w.now))) {
			ds = append(ds, Decision{ID: r.ID(), Stratum: lateStratum(r), SamplingFraction: 1, Selected: true})
		}
		w.tolerate(w.l.Decide(ctx, ds))
		if again := get[[]Record](w.t)(All(w.l.LateFlags(ctx, w.now))); len(again) != 0 {
			w.t.Fatalf("late flags after deciding on them: %v", ids(again))
		}
	case 4: // an overlapping run that knows no better
		w.tolerate(w.l.Decide(ctx, []Decision{{ID: id, Stratum: dg.Strata[w.rng.IntN(4)], SamplingFraction: 1, Interval: w.now, Selected: w.rng.IntN(2) == 0}}),
			dg.ErrConflict, dg.ErrNotFound)
	case 5:
		for _, r := range get[[]Record](w.t)(All(w.l.Unplaced(ctx))) {
			w.tolerate(w.l.Placed(ctx, r.ID()))
		}
	case 6:
		w.tolerate(w.l.Answer(ctx, Answer{ID: id, Label: class, At: w.now}), dg.ErrNotFound, dg.ErrConflict, dg.ErrInvalid)
		if w.rng.IntN(5) == 0 {
			w.tolerate(w.l.Unanswer(ctx, id, ""), dg.ErrNotFound, dg.ErrConflict)
		}
	case 7:
		for _, a := range get[[]Answer](w.t)(w.l.Answers(ctx, w.now.Add(-time.Minute))) {
			w.tolerate(w.l.Collected(ctx, a))
			w.tolerate(w.l.Collected(ctx, a))
			w.labels[a.ID] = a.Label
		}
	case 8:
		if w.rng.IntN(4) > 0 {
			return
		}
		s := sample(id, w.now, .9)
		s.LabelledAt = w.now
		before, err := w.l.Record(ctx, id)
		if s.Timestamp = before.Timestamp; errors.Is(err, dg.ErrNotFound) {
			s.Timestamp = w.now
		}
		w.tolerate(w.l.SetForeignLabel(ctx, s, class))
		if r := get[Record](w.t)(w.l.Record(ctx, id)); r.State == Labelled {
			w.labels[id] = r.Label
		}
	}
}

func (r Record) stratumByTags() dg.Stratum {
	r.Stratum = ""
	return reasonOf(r.Sample, DefaultThreshold)
}

// check looks at every record and compares it with the look before.
func (w *walk) check() {
	ctx := w.t.Context()
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("s%02d.png", i))
	}
	records := get[map[string]Record](w.t)(w.l.Records(ctx, names...))
	labelled := 0
	for id, r := range records {
		old, had := w.seen[id]
		fault := func(what string) { w.t.Fatalf("%s: %s\nbefore %+v\nafter  %+v", id, what, old, r) }
		if r.State == Labelled {
			labelled++
		}
		switch {
		case (r.State == Labelled) != (r.Label != ""):
			fault("label and state disagree")
		case w.labels[id] != "" && r.Label != w.labels[id]:
			fault("the label " + w.labels[id] + " was lost")
		case w.flagged[id] && !r.Flagged:
			fault("the flag was lost")
		case r.State == Waiting && !r.Selected, r.State == Noisy && r.Selected:
			fault("state and pick disagree")
		case r.State == New && (r.Stratum != "" || r.Selected || r.Placed):
			fault("decided and new at once")
		case had && old.State != New && r.State == New:
			fault("a decision was undone")
		case had && old.State == Labelled && r.State != Labelled:
			fault("a label was undone")
		case had && old.State == Waiting && r.State == Noisy:
			fault("a pick was undone")
		case had && old.Stratum != "" && r.Stratum != old.Stratum && !(old.Stratum == dg.Random && r.SamplingFraction == 1 && (r.Stratum == dg.Flagged || r.Stratum == dg.Corrected)):
			fault("the stratum moved without a late flag")
		case had && old.Stratum != "" && !r.Interval.Equal(old.Interval):
			fault("the interval moved")
		case had && !r.Timestamp.Equal(old.Timestamp):
			fault("the past was rewritten")
		}
	}
	for id := range w.seen {
		if _, ok := records[id]; !ok {
			w.t.Fatalf("%s was lost", id)
		}
	}
	w.seen = records
	w.tally(records, labelled)
}

// tally compares the counts with the records themselves.
func (w *walk) tally(records map[string]Record, labelled int) {
	ctx := w.t.Context()
	iv := dg.Interval{Start: t0.Add(time.Duration(w.rng.IntN(3600)) * time.Second), End: w.now}
	var n, m, k, picks int
	for _, r := range records {
		if iv.Contains(r.Timestamp) && (r.InProduction || r.State == Labelled) {
			n++
			if r.State == Labelled {
				m++
			}
			if r.Correct() {
				k++
			}
			if r.Selected || r.State == Labelled {
				picks++
			}
		}
	}
	var c dg.StratumCount
	for _, x := range get[[]dg.StratumCount](w.t)(w.l.Counts(ctx, "", iv)) {
		c.Predictions += x.Predictions
		c.Labels += x.Labels
		c.Correct += x.Correct
	}
	if c.Predictions != n || c.Labels != m || c.Correct != k {
		w.t.Fatalf("Counts = %d, %d, %d, the records say %d, %d, %d", c.Predictions, c.Labels, c.Correct, n, m, k)
	}
	if got := len(get[[]Pick](w.t)(w.l.Picks(ctx, "v1", iv))); got != picks {
		w.t.Fatalf("%d picks, the records say %d", got, picks)
	}
	total := 0
	for _, o := range get[[]Outcome](w.t)(w.l.OutcomeTotals(ctx)) {
		total += o.Count
	}
	if total != labelled {
		w.t.Fatalf("OutcomeTotals = %d, there are %d labels", total, labelled)
	}
}

func TestRandomOperationsNeverUndoADecisionNorLoseALabel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := &walk{t: t, l: open(t), rng: rand.New(rand.NewPCG(seed, 1)), now: t0,
				seen: map[string]Record{}, labels: map[string]string{}, flagged: map[string]bool{}}
			for range 300 {
				w.step()
				w.check()
			}
			states := map[State]int{}
			for _, r := range w.seen {
				states[r.State]++
			}
			if states[Labelled] < 5 || len(w.labels) < 5 {
				t.Errorf("the walk reached too little: %v", states)
			}
		})
	}
}

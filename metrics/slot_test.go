package metrics

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// oldSlots were closed and stored by driftgate before slots had rules: two
// champions, an alarm that fired, and its resolution by the promotion.
func oldSlots(t *testing.T) []ledger.AlarmSlot {
	t.Helper()
	b, err := os.ReadFile("testdata/slots_rules0.jsonl")
	must(t, err)
	var out []ledger.AlarmSlot
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s ledger.AlarmSlot
		must(t, json.Unmarshal(lines.Bytes(), &s))
		out = append(out, s)
	}
	must(t, lines.Err())
	return out
}

func TestSlotsStoredBeforeReplayToTheSameDigits(t *testing.T) {
	slots := oldSlots(t)
	w := newWorld(t, Options{})
	fired := false
	for i, s := range slots {
		if i == 0 || s.ModelVersion != slots[i-1].ModelVersion {
			must(t, w.ledger.StartAlarm(t.Context(), ledger.Alarm{Model: s.Model, ModelVersion: s.ModelVersion, Started: s.Started, ClosedUntil: s.Started, Memory: json.RawMessage(`{}`)}))
		}
		must(t, w.ledger.CloseSlot(t.Context(), s))
		fired = fired || bytes.Contains(s.Outcome, []byte(`"firing"`))
	}
	r, err := w.metrics.Replay(t.Context(), dg.Interval{})
	if err != nil || r.Slots != 11 || len(slots) != 11 || !fired {
		t.Errorf("replayed %+v of %d slots, fired %t: %v", r, len(slots), fired, err)
	}
}

// A reference that began under the old rules lacks the moments of its first
// slots: it makes no rectifier, but the alarm goes on.
func TestAnOldReferenceIsCompletedWithoutARectifier(t *testing.T) {
	in := slotOf(20, 18, .9)
	in.Options.ReferenceLabels = 40
	for _, tt := range []struct {
		name  string
		first int
		want  bool
	}{{"both slots with moments", 1, true}, {"the first without", 0, false}} {
		t.Run(tt.name, func(t *testing.T) {
			var mem memory
			var err error
			in := in
			in.Rules = tt.first
			if mem, _, err = mem.next(in); err != nil {
				t.Fatal(err)
			}
			in.Rules = 1
			if mem, _, err = mem.next(in); err != nil {
				t.Fatal(err)
			}
			if mem.P0 == 0 || (mem.Rectifier.Labels > 0) != tt.want || mem.WatchingSince.IsZero() {
				t.Errorf("memory %+v", mem)
			}
		})
	}
}

// slotOf is a slot of one stratum, of which all are labelled and right of them
// right, with that confidence each.
func slotOf(n, right int, f float64) slotInputs {
	milli := int64(math.Round(f * 1000))
	in := slotInputs{Rules: slotRules, ModelVersion: "v", Slot: dg.Interval{Start: noon, End: noon.Add(time.Hour)}, Options: AlarmOptions{SlotLength: time.Hour, ReferenceLabels: 1}.withDefaults()}
	s := slotStratum{Stratum: dg.Random, Interval: noon, Predictions: 10 * n, Labels: n, Correct: right,
		Sums: sumsOf(dg.Moments{F: 10 * int64(n) * milli, FF: 10 * int64(n) * milli * milli, LabelF: int64(n) * milli, LabelFF: int64(n) * milli * milli, LabelYF: int64(right) * 1000 * milli, LabelYY: int64(right) * 1e6})}
	for i := range n {
		s.Picks = append(s.Picks, slotPick{ID: strconv.Itoa(i), Wrong: i >= right})
	}
	in.Strata = []slotStratum{s}
	return in
}

// A team begins to label a month after the promotion: what nobody labelled is no
// part of the reference, and is not kept. Slots closed before this rule replay
// by their own.
func TestTheReferenceBeginsWithTheFirstLabels(t *testing.T) {
	for rules, want := range map[int]bool{1: false, 2: true} {
		var mem memory
		slot := dg.Interval{Start: noon, End: noon.Add(6 * time.Hour)}
		for n := range 150 {
			in := slotInputs{Rules: rules, ModelVersion: "v", Slot: slot, Options: AlarmOptions{}.withDefaults()}
			for i := range 12 {
				interval := slot.Start.Add(time.Duration(i) * 30 * time.Minute)
				low, rest := slotStratum{Stratum: dg.LowConfidence, Interval: interval, Predictions: 10}, slotStratum{Stratum: dg.Random, Interval: interval, Predictions: 90}
				if n > 120 || n == 120 && i > 6 { // in the middle of a slot
					low.Labels, low.Correct, rest.Labels, rest.Correct = 10, 7, 5, 5
				}
				in.Strata = append(in.Strata, low, rest)
			}
			next, _, err := mem.next(in)
			must(t, err)
			if mem, slot = next, (dg.Interval{Start: slot.End, End: slot.End.Add(6 * time.Hour)}); n == 119 && (len(mem.Counts) == 0) != want {
				t.Errorf("rules %d: %d strata kept of a month without labels", rules, len(mem.Counts))
			}
		}
		if good := mem.ReferenceError > .03 && mem.ReferenceError < .06; mem.P0 == 0 || good != want {
			t.Errorf("rules %d: error at most %.3f by %d labels; want a little above .03: %t", rules, mem.ReferenceError, mem.ReferenceLabels, want)
		}
	}
}

func TestEvidenceGathersWhileTheDetectorResets(t *testing.T) {
	var mem memory
	step := func(in slotInputs) slotOutcome {
		t.Helper()
		next, out, err := mem.next(in)
		if err != nil {
			t.Fatal(err)
		}
		mem = next
		return out
	}
	step(slotOf(300, 279, .93))
	if mem.P0 == 0 || !near(mem.Rectifier.Mean, 0, 1e-12) || mem.Rectifier.Labels != 300 || !mem.WatchingSince.Equal(noon.Add(time.Hour)) || mem.Evidence.Blocks != 0 || mem.Evidence.E() != 1 {
		t.Fatalf("reference %+v", mem)
	}
	var want estimate.Evidence
	blocks := 0
	for range 40 {
		in := slotOf(20, 14, .93)
		in.Options.ThresholdYears = .01
		out := step(in)
		want = want.Add(out.Result.Errors, mem.P0)
		blocks += out.Result.Blocks
	}
	lower, upper := mem.Evidence.Sequence()
	if mem.Alarm.State != estimate.Firing || mem.Evidence.Blocks != blocks || mem.Evidence.E() != want.E() || mem.Evidence.E() < 1000 {
		t.Errorf("after 40 slots of 70%%: %s, %d of %d blocks, e-value %g, want %g", mem.Alarm.State, mem.Evidence.Blocks, blocks, mem.Evidence.E(), want.E())
	}
	if lower > .70 || upper < .70 || upper > .8 {
		t.Errorf("the sequence says %g to %g of an accuracy of .70", lower, upper)
	}
}

func TestDisagreementIsLessThanAnError(t *testing.T) {
	in := slotOf(1, 0, .9)
	in.Strata[0].Picks = []slotPick{{ID: "a", Wrong: true, Loss: 2. / 3}, {ID: "b", Loss: 1. / 3}, {ID: "c", Wrong: true}, {ID: "d"}}
	var losses []float64
	for _, p := range in.slot().Strata[0].Picks {
		losses = append(losses, p.Loss)
	}
	if !slices.Equal(losses, []float64{2. / 3, 1. / 3, 1, 0}) {
		t.Errorf("losses %v", losses)
	}
	for _, tt := range []struct {
		in   ledger.Pick
		want slotPick
	}{
		{ledger.Pick{ID: "a"}, slotPick{ID: "a"}},
		{ledger.Pick{ID: "a", Labelled: true, Correct: true, Agreement: 1}, slotPick{ID: "a"}},
		{ledger.Pick{ID: "a", Labelled: true}, slotPick{ID: "a", Wrong: true}},
		{ledger.Pick{ID: "a", Labelled: true, Correct: true, Agreement: .667}, slotPick{ID: "a", Loss: .333}},
		{ledger.Pick{ID: "a", Labelled: true, Agreement: .333}, slotPick{ID: "a", Wrong: true, Loss: .667}},
	} {
		if got := pickOf(tt.in); got != tt.want {
			t.Errorf("%+v becomes %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestSlotsOfANewerDriftgateAreRefused(t *testing.T) {
	in := slotOf(1, 1, .9)
	in.Rules = slotRules + 1
	if _, _, err := (memory{}).next(in); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

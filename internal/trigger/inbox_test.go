package trigger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"

	"github.com/prometheus/client_golang/prometheus"
)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newInbox(t testing.TB, o Options) (*Inbox, *ledger.Ledger, *clock) {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &clock{at: noon}
	o.Now = c.Now
	return New(l, o), l, c
}

func submit(t testing.TB, i *Inbox, tr dg.Trigger, want dg.TriggerDecision) ledger.TriggerRecord {
	t.Helper()
	rec, err := i.Submit(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Decision != want {
		t.Fatalf("%s %q resolved=%t: decided %q (%s), want %q", tr.Source, tr.DedupeKey, tr.Resolved, rec.Decision, rec.Note, want)
	}
	return rec
}

// end finishes the model's run.
func end(t testing.TB, l *ledger.Ledger, c *clock, id, state string, verdict dg.Verdict) {
	t.Helper()
	r := ledger.Run{ID: id, State: state, FinishedAt: c.Now()}
	if state == ledger.RunDone {
		r.Verdict = verdict.String()
	}
	if _, err := l.FinishRun(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestAnAcceptedTriggerLeavesARunToStart(t *testing.T) {
	i, l, _ := newInbox(t, options())
	tr := alert()
	tr.Reason, tr.Since = "accuracy below reference", ago(3*time.Hour)
	rec := submit(t, i, tr, dg.Accepted)
	runs, err := i.Requested(t.Context())
	if err != nil || len(runs) != 1 {
		t.Fatalf("requested %v, %v", runs, err)
	}
	r := runs[0]
	if r.ID != rec.RunID || r.Pipeline != "retrain" || r.Model != "garments" || r.TriggerID != rec.ID || !r.RequestedAt.Equal(noon) {
		t.Errorf("run %+v of trigger %+v", r, rec)
	}
	if !strings.HasPrefix(r.ID, "retrain-garments-") || !strings.Contains(string(r.Input), "accuracy below reference") || !strings.Contains(string(r.Input), "2026-03-01T09:00:00Z") {
		t.Errorf("run %s with input %s", r.ID, r.Input)
	}
	kept, err := l.Triggers(t.Context(), 10)
	if err != nil || len(kept) != 1 || kept[0].Decision != dg.Accepted || kept[0].RunID != r.ID || !kept[0].Since.Equal(tr.Since) {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

func TestAnIncidentHasOneRun(t *testing.T) {
	i, l, c := newInbox(t, options())
	first := submit(t, i, alert(), dg.Accepted)
	submit(t, i, alert(), dg.Duplicate)
	submit(t, i, alarm(), dg.Joined)
	submit(t, i, alarm(), dg.Duplicate)
	end(t, l, c, first.RunID, ledger.RunDone, dg.Reject)
	c.pass(4 * time.Hour)
	submit(t, i, alert(), dg.Duplicate) // Alertmanager repeats
	submit(t, i, resolution(), dg.Closed)
	submit(t, i, resolution(), dg.Duplicate)
	c.pass(20 * time.Hour)
	second := alert()
	second.DedupeKey = "k2"
	submit(t, i, second, dg.Joined) // the alarm still fires
	gone := alarm()
	gone.Resolved = true
	submit(t, i, gone, dg.Closed)
	second.Resolved = true
	submit(t, i, second, dg.Closed)
	c.pass(6 * time.Hour)
	third := alert()
	third.DedupeKey = "k3"
	rec := submit(t, i, third, dg.Accepted)
	if rec.RunID == first.RunID || rec.IncidentID == first.IncidentID {
		t.Errorf("the new incident shares run or id with the old: %+v, %+v", rec, first)
	}
}

func TestAnAlarmThatMetBusyIsReconsidered(t *testing.T) {
	i, l, c := newInbox(t, options())
	mine := submit(t, i, person(), dg.Accepted)
	submit(t, i, alarm(), dg.Busy)
	again := func(want int) []ledger.TriggerRecord {
		t.Helper()
		got, err := i.Reconsider(t.Context())
		if err != nil || len(got) != want {
			t.Fatalf("reconsidered to %+v, %v; want %d", got, err, want)
		}
		return got
	}
	again(0)
	end(t, l, c, mine.RunID, ledger.RunDone, dg.Inconclusive)
	if got := again(1); got[0].Decision != dg.Accepted || got[0].RunID == "" {
		t.Errorf("reconsidered to %+v", got[0])
	}
	again(0)
	submit(t, i, alarm(), dg.Duplicate)
	if kept, _ := l.Triggers(t.Context(), 10); len(kept) != 3 { // person, alarm busy, alarm accepted
		t.Errorf("%d decisions kept: %+v", len(kept), kept)
	}
}

func TestAnAlarmThatMetARunThatPromotedIsAnswered(t *testing.T) {
	i, l, c := newInbox(t, options())
	mine := submit(t, i, person(), dg.Accepted)
	submit(t, i, alarm(), dg.Busy)
	c.pass(time.Hour)
	end(t, l, c, mine.RunID, ledger.RunDone, dg.Promote)
	c.pass(time.Minute)
	got, err := i.Reconsider(t.Context())
	if err != nil || len(got) != 0 {
		t.Errorf("reconsidered to %+v, %v", got, err)
	}
	if runs, _ := i.Requested(t.Context()); len(runs) != 0 {
		t.Errorf("runs %+v", runs)
	}
	c.pass(7 * time.Hour) // the alarm ended with the promotion; so did, by now, the incident
	next := alarm()
	next.DedupeKey = "a2"
	submit(t, i, next, dg.Accepted)
}

func TestAFailedRunIsRepeatedAfterTheCoolDown(t *testing.T) {
	i, l, c := newInbox(t, options())
	first := submit(t, i, alarm(), dg.Accepted)
	end(t, l, c, first.RunID, ledger.RunFailed, 0)
	got, err := i.Reconsider(t.Context())
	if err != nil || len(got) != 1 || got[0].Decision != dg.CoolDown {
		t.Fatalf("reconsidered to %+v, %v", got, err)
	}
	c.pass(6 * time.Hour)
	if got, err = i.Reconsider(t.Context()); err != nil || len(got) != 1 || got[0].Decision != dg.Accepted || got[0].RunID == first.RunID {
		t.Fatalf("reconsidered to %+v, %v", got, err)
	}
}

func TestTheSameCauseAtTheSameInstantStartsOneRun(t *testing.T) {
	i, l, _ := newInbox(t, options())
	var g sync.WaitGroup
	for n := range 16 {
		g.Go(func() {
			tr := alert()
			if n%2 == 1 {
				tr.DedupeKey = fmt.Sprint("other-", n)
			}
			if _, err := i.Submit(context.Background(), tr); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	runs, err := l.Runs(t.Context(), "", 0)
	if err != nil || len(runs) != 1 {
		t.Errorf("%d runs, %v; want one", len(runs), err)
	}
	var deliveries int
	kept, _ := l.Triggers(t.Context(), 0)
	for _, k := range kept {
		deliveries += k.Deliveries
	}
	if deliveries != 16 || len(kept) != 9 {
		t.Errorf("%d deliveries in %d decisions, want 16 in 9", deliveries, len(kept))
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	i, l, _ := newInbox(t, Options{})
	for name, tr := range map[string]dg.Trigger{
		"no source":                  {Model: "m", DedupeKey: "k"},
		"unknown source":             {Source: "moon", Model: "m", DedupeKey: "k"},
		"no model":                   {Source: dg.FromAlarm, DedupeKey: "k"},
		"a model that is a path":     {Source: dg.FromAlarm, Model: "../m", DedupeKey: "k"},
		"an alert without key":       {Source: dg.FromAlertmanager, Model: "m"},
		"a key that is far too long": {Source: dg.FromAlarm, Model: "m", DedupeKey: strings.Repeat("k", 513)},
		"a person resolves":          {Source: dg.FromPerson, Model: "m", DedupeKey: "k", Resolved: true},
	} {
		if _, err := i.Submit(t.Context(), tr); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if kept, _ := l.Triggers(t.Context(), 0); len(kept) != 0 {
		t.Errorf("kept %+v", kept)
	}
	long := submit(t, i, dg.Trigger{Source: dg.FromPerson, Model: "m", Reason: strings.Repeat("ü", 5000)}, dg.Accepted)
	if n := len([]rune(long.Reason)); n != maxReason {
		t.Errorf("a long reason has %d characters left, want %d", n, maxReason)
	}
	if long.DedupeKey == "" || long.ID == "" || long.At.IsZero() {
		t.Errorf("a person's trigger was not completed: %+v", long)
	}
}

func TestEveryAnswerIsCountedFromZero(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := options()
	o.Registerer = reg
	i, _, _ := newInbox(t, o)
	count := func() (series int, duplicates float64) {
		families, err := reg.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "driftgate_triggers_total" {
			t.Fatalf("gathered %v, %v", families, err)
		}
		for _, m := range families[0].GetMetric() {
			series++
			if l := m.GetLabel(); l[0].GetValue() == "duplicate" && l[1].GetValue() == "alertmanager" {
				duplicates = m.GetCounter().GetValue()
			}
		}
		return series, duplicates
	}
	if n, d := count(); n != len(dg.TriggerSources)*len(dg.TriggerDecisions) || d != 0 {
		t.Errorf("%d series at start, %g duplicates", n, d)
	}
	submit(t, i, alert(), dg.Accepted)
	submit(t, i, alert(), dg.Duplicate)
	if _, d := count(); d != 1 {
		t.Errorf("duplicates counted: %g", d)
	}
}

// TestAnyHistoryKeepsThePromises plays random histories against the real ledger
// and holds each answer to what the package promises.
func TestAnyHistoryKeepsThePromises(t *testing.T) {
	histories := 8
	if testing.Short() {
		histories = 3
	}
	for seed := range histories {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		t.Run(fmt.Sprint("history ", seed), func(t *testing.T) {
			i, l, c := newInbox(t, Options{CoolDown: 6 * time.Hour, BudgetPerDay: 3, Forget: 20 * time.Hour})
			h := &history{t: t, inbox: i, ledger: l, clock: c, rng: rng, runOf: map[string]string{}, failed: map[string]bool{}}
			for range 120 {
				h.step()
				h.check()
			}
			if h.accepted < 5 {
				t.Errorf("only %d accepted: the history proves little", h.accepted)
			}
		})
	}
}

type history struct {
	t        *testing.T
	inbox    *Inbox
	ledger   *ledger.Ledger
	clock    *clock
	rng      *rand.Rand
	runOf    map[string]string // dedupe key -> newest run it started
	failed   map[string]bool   // runs
	accepted int
}

func (h *history) step() {
	h.clock.pass(time.Duration(h.rng.Int64N(int64(3 * time.Hour))))
	if h.rng.IntN(8) == 0 {
		h.clock.pass(30 * time.Hour) // quiet enough for incidents to end
	}
	switch h.rng.IntN(10) {
	case 0, 1:
		h.finish()
	case 2:
		recs, err := h.inbox.Reconsider(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		for _, r := range recs {
			h.answered(r)
		}
	default:
		source := dg.TriggerSources[h.rng.IntN(4)]
		tr := dg.Trigger{Source: source, Model: []string{"m", "n"}[h.rng.IntN(2)]}
		tr.DedupeKey = fmt.Sprint(tr.Model, source, h.rng.IntN(12))
		tr.Resolved = automatic(source) && h.rng.IntN(3) == 0
		rec, err := h.inbox.Submit(h.t.Context(), tr)
		if err != nil {
			h.t.Fatal(err)
		}
		h.answered(rec)
	}
}

func (h *history) answered(r ledger.TriggerRecord) {
	if r.Decision != dg.Accepted {
		return
	}
	if old := h.runOf[r.DedupeKey]; old != "" && (!h.failed[old] || !automatic(r.Source)) {
		h.t.Errorf("%s %q started %s, though it had started %s, which did not fail", r.Source, r.DedupeKey, r.RunID, old)
	}
	if r.Resolved {
		h.t.Errorf("a resolution started %s", r.RunID)
	}
	h.runOf[r.DedupeKey] = r.RunID
	h.accepted++
}

func (h *history) finish() {
	open, err := h.inbox.Requested(h.t.Context())
	if err != nil || len(open) == 0 {
		return
	}
	id := open[h.rng.IntN(len(open))].ID
	state := []string{ledger.RunDone, ledger.RunDone, ledger.RunFailed, ledger.RunCancelled}[h.rng.IntN(4)]
	h.failed[id] = state == ledger.RunFailed
	end(h.t, h.ledger, h.clock, id, state, dg.Verdicts[h.rng.IntN(3)])
}

func (h *history) check() {
	runs, err := h.ledger.Runs(h.t.Context(), "", 0)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(runs) != h.accepted {
		h.t.Fatalf("%d runs for %d acceptances", len(runs), h.accepted)
	}
	unfinished, day := map[string]int{}, map[string]int{}
	for _, r := range runs {
		if !r.Finished() {
			unfinished[r.Model]++
		}
		if h.clock.Now().Sub(r.RequestedAt) < 24*time.Hour {
			day[r.Model]++
		}
	}
	for m, n := range unfinished {
		if n > 1 {
			h.t.Fatalf("%d unfinished runs of %s", n, m)
		}
	}
	for m, n := range day {
		if n > 3 {
			h.t.Fatalf("%d runs of %s within 24 hours, the budget is 3", n, m)
		}
	}
}

package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"

	"github.com/prometheus/client_golang/prometheus"
)

type schedulerSet struct {
	clock    *clock
	engine   *memoryEngine
	settings *memorySettings
	inbox    *memoryInbox
	reg      *prometheus.Registry
}

func newSchedulerSet() *schedulerSet {
	return &schedulerSet{clock: &clock{at: noon.Add(10 * time.Minute)}, engine: newMemoryEngine(), settings: &memorySettings{m: map[string]string{}}, inbox: &memoryInbox{}}
}

var halfHourly = Schedule{Pipeline: "curate", Every: 30 * time.Minute, Input: func(iv dg.Interval) any { return CurateInput{iv, true} }}

// scheduler returns a new process's scheduler.
func (s *schedulerSet) scheduler(t *testing.T, o SchedulerOptions) *Scheduler {
	t.Helper()
	if o.Schedules == nil {
		o.Schedules = []Schedule{halfHourly}
	}
	if o.Now == nil {
		o.Now = s.clock.Now
	}
	s.reg = prometheus.NewRegistry()
	o.Registerer = s.reg
	sched, err := NewScheduler(s.engine, s.inbox, s.settings, o)
	if err != nil {
		t.Fatal(err)
	}
	return sched
}

func due(t *testing.T, s *Scheduler) {
	t.Helper()
	if err := s.due(t.Context(), s.o.Schedules[0]); err != nil {
		t.Fatal(err)
	}
}

func ids(pipeline string, from time.Time, every time.Duration, n int) (out []string) {
	for i := range n {
		out = append(out, pipeline+"-"+from.Add(time.Duration(i)*every).Format(time.RFC3339))
	}
	return out
}

func TestEachIntervalRunsOnceAfterItsEnd(t *testing.T) {
	s := newSchedulerSet()
	sched := s.scheduler(t, SchedulerOptions{})
	for range 200 { // one look a minute, from 12:10 to 15:29
		due(t, sched)
		s.clock.pass(time.Minute)
	}
	if want := ids("curate", noon, 30*time.Minute, 6); !slices.Equal(s.engine.runs(), want) {
		t.Errorf("ran %v, want %v", s.engine.runs(), want)
	}
	in := s.engine.inputs["curate-2026-03-01T13:00:00Z"].(CurateInput)
	if want := (dg.Interval{Start: noon.Add(time.Hour), End: noon.Add(90 * time.Minute)}); in.Interval != want || !in.Late {
		t.Errorf("input %+v", in)
	}
}

func TestMissedIntervalsAreCaughtUpInOrder(t *testing.T) {
	s := newSchedulerSet()
	sched := s.scheduler(t, SchedulerOptions{})
	due(t, sched)
	s.clock.pass(20 * time.Minute)
	due(t, sched) // 12:30
	s.clock.pass(3 * time.Hour)
	again := s.scheduler(t, SchedulerOptions{}) // a new process, three hours later
	due(t, again)
	if want := ids("curate", noon, 30*time.Minute, 7); !slices.Equal(s.engine.runs(), want) {
		t.Errorf("ran %v, want %v", s.engine.runs(), want)
	}
	if n := s.late(t, "driftgate_pipeline_intervals_late_total"); n != 5 {
		t.Errorf("%g late intervals counted, want 5 of the 6: the last was in time", n)
	}
}

func (s *schedulerSet) late(t *testing.T, name string) float64 {
	t.Helper()
	return (&stageSet{reg: s.reg}).gathered(t, name, "curate")
}

func TestAVeryLongPauseIsBounded(t *testing.T) {
	s := newSchedulerSet()
	sched := s.scheduler(t, SchedulerOptions{CatchUp: 4})
	due(t, sched)
	s.clock.pass(365 * 24 * time.Hour)
	due(t, sched)
	ran := s.engine.runs()
	newest := dg.Slot(s.clock.Now(), 30*time.Minute).Start
	if want := ids("curate", newest.Add(-2*time.Hour), 30*time.Minute, 4); !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	if n := s.late(t, "driftgate_pipeline_intervals_skipped_total"); n != 365*48-4 {
		t.Errorf("%g skipped intervals counted, want %d", n, 365*48-4)
	}
	due(t, sched)
	if len(s.engine.runs()) != 4 {
		t.Error("something ran twice")
	}
}

func TestALatestScheduleRunsTheNewestIntervalOnly(t *testing.T) {
	s := newSchedulerSet()
	sched := s.scheduler(t, SchedulerOptions{Schedules: []Schedule{{Pipeline: "collect", Every: time.Minute, Latest: true}}})
	due(t, sched)
	s.clock.pass(time.Hour)
	due(t, sched)
	if want := ids("collect", noon.Add(69*time.Minute), time.Minute, 1); !slices.Equal(s.engine.runs(), want) {
		t.Errorf("ran %v, want %v", s.engine.runs(), want)
	}
}

func TestAFailedIntervalDoesNotHoldUpTheNext(t *testing.T) {
	s := newSchedulerSet()
	s.engine.fail["curate-2026-03-01T12:00:00Z"] = true
	sched := s.scheduler(t, SchedulerOptions{})
	due(t, sched)
	s.clock.pass(time.Hour)
	due(t, sched)
	if want := ids("curate", noon, 30*time.Minute, 2); !slices.Equal(s.engine.runs(), want) {
		t.Errorf("ran %v, want %v", s.engine.runs(), want)
	}
}

func TestAPlaceInTheFutureIsGivenUp(t *testing.T) {
	s := newSchedulerSet()
	s.settings.m["schedule.curate"] = "2036-01-01T00:00:00Z" // left by a clock that ran faster
	sched := s.scheduler(t, SchedulerOptions{})
	due(t, sched)
	s.clock.pass(30 * time.Minute)
	due(t, sched)
	if want := ids("curate", noon, 30*time.Minute, 1); !slices.Equal(s.engine.runs(), want) {
		t.Errorf("ran %v, want %v", s.engine.runs(), want)
	}
}

func TestBackfill(t *testing.T) {
	s := newSchedulerSet()
	sched := s.scheduler(t, SchedulerOptions{})
	day := dg.Interval{Start: noon.Add(-24 * time.Hour), End: noon}
	got, err := sched.Backfill(t.Context(), "curate", day)
	if want := ids("curate", day.Start, 30*time.Minute, 48); err != nil || !slices.Equal(got, want) || !slices.Equal(s.engine.runs(), want) {
		t.Errorf("%d ids, %v, %d runs; want 48", len(got), err, len(s.engine.runs()))
	}
	s.engine.states[got[3]], s.engine.states[got[7]] = "failed", "failed"
	again, err := sched.Backfill(t.Context(), "curate", day)
	if ran := s.engine.runs(); err != nil || !slices.Equal(again, got) || !slices.Equal(ran[48:], []string{got[3], got[7]}) {
		t.Errorf("again: %v, %v; want the two that failed to run", ran[48:], err)
	}
	for name, tt := range map[string]struct {
		pipeline string
		iv       dg.Interval
	}{
		"an unknown pipeline":                    {"nonsense", day},
		"an interval that is not aligned":        {"curate", dg.Interval{Start: noon.Add(-time.Hour - time.Minute), End: noon}},
		"an interval that is not over":           {"curate", dg.Interval{Start: noon, End: noon.Add(30 * time.Minute)}},
		"an interval that ends before it starts": {"curate", dg.Interval{Start: noon, End: noon.Add(-time.Hour)}},
		"an absurdly long interval":              {"curate", dg.Interval{Start: noon.Add(-100_001 * 30 * time.Minute), End: noon}},
	} {
		if got, err := sched.Backfill(t.Context(), tt.pipeline, tt.iv); !errors.Is(err, dg.ErrInvalid) || len(got) != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestBackfillAndScheduleTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedulerSet()
		s.engine.takes = time.Second
		began := time.Now()
		sched := s.scheduler(t, SchedulerOptions{Now: func() time.Time { return noon.Add(time.Since(began) * 600) }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- sched.Run(ctx) }()
		if _, err := sched.Backfill(ctx, "curate", dg.Interval{Start: noon.Add(-5 * time.Hour), End: noon}); err != nil {
			t.Error(err) // the engine refuses two at a time
		}
		time.Sleep(30 * time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ran := s.engine.runs()
		slices.Sort(ran)
		if want := ids("curate", noon.Add(-5*time.Hour), 30*time.Minute, len(ran)); len(ran) < 20 || !slices.Equal(ran, want) {
			t.Errorf("%d runs: %v", len(ran), ran)
		}
	})
}

// With a clock at 3 hours a second and runs of 10 ms the schedules keep up.
func TestAFastClockIsKeptUpWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedulerSet()
		s.engine.takes = 10 * time.Millisecond
		began := time.Now()
		now := func() time.Time { return noon.Add(time.Since(began) * 3 * 3600) }
		sched := s.scheduler(t, SchedulerOptions{Now: now, Schedules: []Schedule{halfHourly, {Pipeline: "collect", Every: time.Hour, Latest: true}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- sched.Run(ctx) }()
		time.Sleep(20*time.Second + time.Millisecond) // 60 hours
		cancel()
		<-done
		var curated []string
		for _, id := range s.engine.runs() {
			if strings.HasPrefix(id, "curate") {
				curated = append(curated, id)
			}
		}
		if want := ids("curate", noon, 30*time.Minute, len(curated)); len(curated) < 118 || !slices.Equal(curated, want) {
			t.Errorf("%d of 120 intervals, in order: %t", len(curated), slices.Equal(curated, want))
		}
	})
}

func TestAcceptedRunsAreStartedAtOnceWhenWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedulerSet()
		sched := s.scheduler(t, SchedulerOptions{Tick: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- sched.Run(ctx) }()
		synctest.Wait()
		s.inbox.mu.Lock()
		s.inbox.requested = []ledger.Run{{ID: "retrain-garments-1", Pipeline: "retrain", Model: "garments", Input: json.RawMessage(`{"model":"garments"}`)}}
		s.inbox.mu.Unlock()
		sched.Wake()
		synctest.Wait()
		if ran := s.engine.runs(); !slices.Equal(ran, []string{"retrain-garments-1"}) || s.inbox.reconsidered != 2 {
			t.Errorf("ran %v, reconsidered %d times", ran, s.inbox.reconsidered)
		}
		cancel()
		<-done
	})
}

func TestTheCronRetrainsOnceAfterAPause(t *testing.T) {
	s := newSchedulerSet()
	o := SchedulerOptions{RetrainCron: "0 3 * * *", Model: "garments"}
	look := func() []dg.Trigger {
		sched := s.scheduler(t, o) // always a new process
		for range 3 {
			if err := sched.retrainDue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return s.inbox.submitted
	}
	if got := look(); len(got) != 0 {
		t.Errorf("submitted %+v at first sight", got)
	}
	s.clock.pass(14 * time.Hour)
	if got := look(); len(got) != 0 {
		t.Errorf("submitted %+v before 3 o'clock", got)
	}
	s.clock.pass(time.Hour)
	if got := look(); len(got) != 1 || got[0].DedupeKey != "schedule-2026-03-02T03:00:00Z" || got[0].Source != dg.FromSchedule || got[0].Model != "garments" {
		t.Errorf("submitted %+v at 3 o'clock", got)
	}
	s.clock.pass(10 * 24 * time.Hour)
	if got := look(); len(got) != 2 || got[1].DedupeKey != "schedule-2026-03-12T03:00:00Z" {
		t.Errorf("submitted %+v after ten days' pause, want the newest time only", got)
	}
}

func TestAScheduleWithMistakesIsRefusedWithAllOfThem(t *testing.T) {
	s := newSchedulerSet()
	_, err := NewScheduler(s.engine, s.inbox, s.settings, SchedulerOptions{RetrainCron: "whenever",
		Schedules: []Schedule{{Pipeline: "curate", Every: time.Millisecond}, {Pipeline: "collect", Every: time.Minute}, {Pipeline: "collect", Every: time.Hour}}})
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{`"whenever"`, "curate: every 1ms", "collect: there are two"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
}

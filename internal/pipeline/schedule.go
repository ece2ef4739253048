package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/robfig/cron/v3"
)

// Engine is what the scheduler asks of the engine.
type Engine interface {
	// StartFor begins a run, unless its id was started before.
	StartFor(ctx context.Context, id, pipeline, model string, in any) error
	// Restart begins a failed or cancelled run again.
	Restart(ctx context.Context, id string) error
	// Wait returns when the run has ended; its failure is the error.
	Wait(ctx context.Context, id string, out any) error
}

// Inbox is what the scheduler asks of trigger.Inbox.
type Inbox interface {
	Submit(ctx context.Context, t dg.Trigger) (ledger.TriggerRecord, error)
	Requested(ctx context.Context) ([]ledger.Run, error)
	Reconsider(ctx context.Context) ([]ledger.TriggerRecord, error)
}

// Settings keeps the scheduler's place through restarts; see ledger.Ledger.
type Settings interface {
	Setting(ctx context.Context, key string) (value string, ok bool, err error)
	SetSetting(ctx context.Context, key, value string) error
}

// Schedule runs a pipeline once for each interval of length Every, after the
// interval's end, one at a time and in order.
type Schedule struct {
	Pipeline string
	Every    time.Duration // whole seconds
	Latest   bool          // after a pause run the newest interval only: for pipelines that do all there is to do
	Input    func(iv dg.Interval) any
	Paused   bool // by schedule; backfill works
}

// SchedulerOptions is what is started when.
type SchedulerOptions struct {
	Schedules   []Schedule
	RetrainCron string // five fields, UTC; empty: no retrain by schedule
	Model       string // that the cron retrains
	CatchUp     int    // most missed intervals run after a pause, the newest; default 1000
	Now         func() time.Time
	Tick        time.Duration // wall time between two looks at the clock; default 250ms
	Logger      *slog.Logger
	Registerer  prometheus.Registerer // nil: no metrics
}

// maxBackfill bounds one backfill.
const maxBackfill = 100_000

// Scheduler starts runs: those of the schedules, and those that the inbox has
// accepted.
type Scheduler struct {
	engine   Engine
	inbox    Inbox
	settings Settings
	o        SchedulerOptions
	log      *slog.Logger
	cron     cron.Schedule            // nil: none
	turns    map[string]chan struct{} // one run of a pipeline at a time, by schedule or backfill
	late     *prometheus.CounterVec
	skipped  *prometheus.CounterVec
	wake     chan struct{}
}

// NewScheduler returns a scheduler; the error names every fault, as
// [driftgate.ErrInvalid].
func NewScheduler(e Engine, inbox Inbox, settings Settings, o SchedulerOptions) (*Scheduler, error) {
	if o.CatchUp <= 0 {
		o.CatchUp = 1000
	}
	if o.Tick <= 0 {
		o.Tick = 250 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	auto := promauto.With(o.Registerer)
	s := &Scheduler{engine: e, inbox: inbox, settings: settings, o: o, log: o.Logger.With("component", "scheduler"),
		turns: map[string]chan struct{}{}, wake: make(chan struct{}, 1),
		late: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_pipeline_intervals_late_total",
			Help: "Intervals that were run more than one interval after their end.",
		}, []string{"pipeline"}),
		skipped: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_pipeline_intervals_skipped_total",
			Help: "Intervals that were never run by schedule, because too many had been missed or the newest does for all.",
		}, []string{"pipeline"}),
	}
	var errs []error
	for _, c := range o.Schedules {
		if c.Every < time.Second || c.Every%time.Second != 0 {
			errs = append(errs, fmt.Errorf("pipeline: schedule of %s: every %s: want whole seconds, at least one: %w", c.Pipeline, c.Every, dg.ErrInvalid))
		}
		if s.turns[c.Pipeline] != nil {
			errs = append(errs, fmt.Errorf("pipeline: schedule of %s: there are two: %w", c.Pipeline, dg.ErrInvalid))
		}
		s.turns[c.Pipeline] = make(chan struct{}, 1)
		s.late.WithLabelValues(c.Pipeline)
		s.skipped.WithLabelValues(c.Pipeline)
	}
	if o.RetrainCron != "" {
		var err error
		if s.cron, err = cron.ParseStandard(o.RetrainCron); err != nil {
			errs = append(errs, fmt.Errorf("pipeline: retrain schedule %q: %w: want five cron fields, such as 0 3 * * 0: %w", o.RetrainCron, err, dg.ErrInvalid))
		}
	}
	return s, errors.Join(errs...)
}

// Run starts what is due until ctx ends, whose error it returns.
func (s *Scheduler) Run(ctx context.Context) error {
	var g sync.WaitGroup
	for _, c := range s.o.Schedules {
		if !c.Paused {
			g.Go(func() { s.loop(ctx, "schedule of "+c.Pipeline, nil, func() error { return s.due(ctx, c) }) })
		}
	}
	if s.cron != nil {
		g.Go(func() { s.loop(ctx, "retrain schedule", nil, func() error { return s.retrainDue(ctx) }) })
	}
	if s.inbox != nil {
		g.Go(func() { s.loop(ctx, "requested runs", s.wake, func() error { return s.startRequested(ctx) }) })
	}
	g.Wait()
	return ctx.Err()
}

// Wake makes the scheduler look for accepted runs at once.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// loop calls work at every tick, and when woken.
func (s *Scheduler) loop(ctx context.Context, what string, wake <-chan struct{}, work func() error) {
	tick := time.NewTicker(s.o.Tick)
	defer tick.Stop()
	var reported time.Time
	for {
		if err := work(); err != nil && ctx.Err() == nil && time.Since(reported) > 10*time.Second {
			reported = time.Now()
			s.log.Error(what+" failed, will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-wake:
		}
	}
}

// IntervalID is the id of the run that owns iv.
func IntervalID(pipeline string, iv dg.Interval) string {
	return pipeline + "-" + iv.Start.UTC().Format(time.RFC3339)
}

func placeKey(pipeline string) string { return "schedule." + pipeline }

// due runs every interval of c that is over, in order.
func (s *Scheduler) due(ctx context.Context, c Schedule) error {
	next, err := s.place(ctx, c)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		iv := dg.Interval{Start: next, End: next.Add(c.Every)}
		now := s.o.Now()
		if now.Before(iv.End) {
			return nil
		}
		if missed := int(now.Sub(iv.End) / c.Every); missed > 0 {
			keep := s.o.CatchUp
			if c.Latest {
				keep = 1
			}
			if skip := missed + 1 - keep; skip > 0 {
				s.skipped.WithLabelValues(c.Pipeline).Add(float64(skip))
				if !c.Latest {
					s.log.Warn("too many intervals were missed: the oldest are left out", "pipeline", c.Pipeline, "from", iv.Start, "skipped", skip)
				}
				iv.Start = iv.Start.Add(time.Duration(skip) * c.Every)
				iv.End = iv.Start.Add(c.Every)
			} else {
				s.late.WithLabelValues(c.Pipeline).Inc()
			}
		}
		if err := s.runInterval(ctx, c, iv, false); err != nil {
			return err
		}
		next = iv.End
		if err := s.settings.SetSetting(ctx, placeKey(c.Pipeline), next.Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// place is the start of the next interval to run. The first start begins with
// the interval under way; so does a place in the future, which a clock that was
// wrong, or faster, has left.
func (s *Scheduler) place(ctx context.Context, c Schedule) (time.Time, error) {
	current := dg.Slot(s.o.Now(), c.Every).Start
	text, ok, err := s.settings.Setting(ctx, placeKey(c.Pipeline))
	if err != nil {
		return current, err
	}
	if ok {
		kept, err := time.Parse(time.RFC3339, text)
		if err == nil && !kept.After(current.Add(c.Every)) {
			return dg.Slot(kept, c.Every).Start, nil
		}
		s.log.Warn("the schedule's kept place is of no use: it goes on with the interval under way", "pipeline", c.Pipeline, "kept", text, "from", current)
	}
	return current, s.settings.SetSetting(ctx, placeKey(c.Pipeline), current.Format(time.RFC3339))
}

// runInterval runs one interval to its end; again also when it had failed. A
// run that fails is logged by the engine and does not hold up the next.
func (s *Scheduler) runInterval(ctx context.Context, c Schedule, iv dg.Interval, again bool) error {
	turn := s.turns[c.Pipeline]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	id := IntervalID(c.Pipeline, iv)
	var in any
	if c.Input != nil {
		in = c.Input(iv)
	}
	if err := s.engine.StartFor(ctx, id, c.Pipeline, "", in); err != nil {
		return err
	}
	if again {
		if err := s.engine.Restart(ctx, id); err != nil {
			return err
		}
	}
	if err := s.engine.Wait(ctx, id, nil); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Warn("scheduled run did not succeed", "run", id, "error", err)
	}
	return nil
}

// Backfill runs a scheduled pipeline for every interval of iv, whose ends must
// be multiples of its length and past, in order: Length/Every runs. Those that
// have succeeded are not run again, those that failed are. It returns their ids
// when all have ended, or with the error those that have; the error is
// [driftgate.ErrInvalid] for an interval that does not fit.
func (s *Scheduler) Backfill(ctx context.Context, pipeline string, iv dg.Interval) ([]string, error) {
	var c *Schedule
	for i := range s.o.Schedules {
		if s.o.Schedules[i].Pipeline == pipeline {
			c = &s.o.Schedules[i]
		}
	}
	if c == nil {
		return nil, fmt.Errorf("pipeline: backfill %q: it has no schedule: %w", pipeline, dg.ErrInvalid)
	}
	if n := iv.Length() / c.Every; n > maxBackfill {
		return nil, fmt.Errorf("pipeline: backfill %s %s: %d runs, want at most %d: %w", pipeline, iv, n, maxBackfill, dg.ErrInvalid)
	}
	if now := s.o.Now(); iv.End.After(now) {
		return nil, fmt.Errorf("pipeline: backfill %s %s: it is not over yet, now is %s: %w", pipeline, iv, now.UTC().Format(time.RFC3339), dg.ErrInvalid)
	}
	parts, err := iv.Split(c.Every)
	if err != nil {
		return nil, fmt.Errorf("pipeline: backfill %s: %w", pipeline, err)
	}
	ids := make([]string, 0, len(parts))
	for _, part := range parts {
		if err := s.runInterval(ctx, *c, part, true); err != nil {
			return ids, fmt.Errorf("pipeline: backfill %s: %w", pipeline, err)
		}
		ids = append(ids, IntervalID(pipeline, part))
	}
	return ids, nil
}

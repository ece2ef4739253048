// Package demo plays the whole loop on one machine: a first champion is
// trained, users upload photos through the real HTTP endpoint, annotators
// answer through the real labelling API, the world drifts, and the gateway
// notices, retrains, judges and promotes by itself.
//
// The demo holds the truth of every image and no other privilege: it talks to
// the gateway over HTTP as everybody does. Its clock runs faster than the
// wall's, and says so.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/config"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
)

// Options choose what is played.
type Options struct {
	Dataset string // "synthetic" or "fashion-mnist"
	Data    string // folder of the dataset's files
	Seed    uint64
	NoDrift bool
	Exit    bool   // end with the story instead of serving on
	Report  string // file for the report; empty is none
	Config  config.Config
	Out     io.Writer
	Live    bool // Out is a terminal
	Version string
	Exe     string // this binary, for the training child
}

// The script, in demo time.
const (
	speed      = 9000                // demo seconds a wall second: two and a half hours
	perHour    = 24.0                // uploads an hour
	delay      = time.Hour           // from task to answer
	wrong      = 0.02                // share of answers that are wrong
	flags      = 0.10                // share of wrong predictions that are flagged
	fixes      = 0.05                // and corrected
	quietDays  = 5                   // before the world changes
	calmDays   = 14                  // length of a story without drift
	people     = 4                   // annotators
	patience   = 12 * 24 * time.Hour // for the alarm, and again for the recovery
	recoverFor = 48 * time.Hour      // after the promotion, before it is judged
	headline   = 24 * time.Hour      // window of the figures told
	estimator  = "stratified"
	manyImages = 20_000
)

// Settings returns c with what the fast clock needs: frequent curating and
// collecting, a frequent snapshot.
func settings(c config.Config) config.Config {
	c.Model = "garments"
	c.Curate.Every = 2 * time.Hour
	c.Curate.Random = 10
	c.Collect.Every = time.Hour
	c.Collect.Undo = 0
	c.Reconcile.Every = 0
	c.Serving.Follow = 200 * time.Millisecond
	c.Metrics.Refresh = 250 * time.Millisecond
	c.Metrics.Stride = 10 * time.Minute
	c.Alarm.Slot = 2 * time.Hour
	c.Alarm.LabelGrace = 8 * time.Hour
	c.Alarm.ReferenceLabels = 300
	c.Trigger.CoolDown = 12 * time.Hour
	c.Train.Replay = 3000
	c.Train.MinLabels = 600
	c.Train.Wait = 5 * 24 * time.Hour
	c.Train.Lookback = 24 * time.Hour
	c.HTTP.RatePerIP = 0
	return c
}

// Report is what --report writes.
type Report struct {
	Predictions       int64   `json:"predictions"`
	Captured          int     `json:"captured"`
	Labelled          int     `json:"labelled"`
	BaselineAccuracy  float64 `json:"baseline_accuracy"`
	DriftedAccuracy   float64 `json:"drifted_accuracy"`
	DriftAt           string  `json:"drift_at,omitempty"`
	AlarmAt           string  `json:"alarm_at,omitempty"`
	Trigger           string  `json:"trigger,omitempty"`
	Verdict           string  `json:"verdict,omitempty"`
	ChampionBefore    string  `json:"champion_before"`
	ChampionAfter     string  `json:"champion_after"`
	RecoveredAccuracy float64 `json:"recovered_accuracy"`
	Seconds           float64 `json:"seconds"`
	PeakMiB           int     `json:"peak_mib"`
	FalseAlarm        bool    `json:"false_alarm"`
}

// Run plays the story; the error says which chapter did not come true.
func Run(ctx context.Context, o Options) error {
	conf := settings(o.Config)
	if conf.Dir == "" {
		dir, err := os.MkdirTemp("", "driftgate-demo-")
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		conf.Dir = dir
		defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary folder harms nobody
	} else if err := unused(conf.Dir); err != nil {
		return err
	}
	clock := NewClock(time.Now().Add(-calmDays * 24 * time.Hour).Truncate(24 * time.Hour))
	logger, closeLog, err := logTo(conf.Dir)
	if err != nil {
		return err
	}
	defer closeLog()
	a, err := app.New(ctx, app.Options{Config: conf, Now: clock.Now, Logger: logger, Version: o.Version, Exe: o.Exe})
	if err != nil {
		return err
	}
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- a.Run(serve) }()
	s := &story{Options: o, conf: conf, clock: clock, client: app.NewClient(a.Address(), a.Token()), gateway: a,
		screen: &screen{out: o.Out, live: o.Live}, begun: time.Now(), rng: rand.New(rand.NewPCG(o.Seed, 14))}
	err = s.tell(ctx, served)
	if err == nil && !o.Exit {
		fmt.Fprintf(o.Out, "\nServing on until Ctrl-C; the clock now runs at the wall's speed.\n")
		select {
		case <-ctx.Done():
		case err = <-served:
			stop()
			return err
		}
	}
	stop()
	return errors.Join(err, <-served)
}

// unused demands a folder without a story in it.
func unused(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("demo: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("demo: %s is not empty: want a new folder, the demo tells its story from the start: %w", dir, driftgate.ErrInvalid)
	}
	return nil
}

// logTo keeps the gateway's log out of the story, in DIR/demo.log.
func logTo(dir string) (*slog.Logger, func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("demo: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "demo.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("demo: %w", err)
	}
	return slog.New(slog.NewTextHandler(f, nil)), func() { f.Close() }, nil
}

// story is one telling.
type story struct {
	Options
	conf    config.Config
	clock   *Clock
	client  *app.Client
	gateway *app.App // for links and for the mark on the charts; everything else goes over HTTP
	screen  *screen
	begun   time.Time
	rng     *rand.Rand

	users  *users
	people *annotators
	world  *world
	report Report
	path   []float64 // accuracy over the story, for the spark line
	opened time.Time // when traffic began, demo time
	drift  time.Time // when the world changed, demo time
}

func (s *story) tell(ctx context.Context, served <-chan error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-served:
			cancel(fmt.Errorf("demo: the gateway ended: %w", err))
		case <-ctx.Done():
		}
	}()
	s.prologue()
	src, err := s.firstChampion(ctx)
	if err != nil {
		return err
	}
	stopPeople := s.openDoors(ctx, cancel, src)
	err = s.chapters(ctx)
	stopPeople()
	s.clock.Run(1)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return errors.Join(cause, err)
		}
		return err
	}
	return s.epilogue(ctx)
}

func (s *story) prologue() {
	fmt.Fprintf(s.Out, `driftgate demo: the whole loop on this machine, with no other server.

  pages    %s
  data     %s
  clock    one second here is %.3g hours of traffic
  world    %.0f uploads an hour; %.0f%% of the wrong answers get flagged, %.0f%% corrected by users;
           %d annotators answer after %s and are wrong in %.0f%% of the cases

`, s.gateway.SignIn("/accuracy"), s.conf.Dir, speed/3600.0, perHour, 100*flags, 100*fixes, people, delay, 100*wrong)
}

func (s *story) chapters(ctx context.Context) error {
	if s.NoDrift {
		return s.calm(ctx)
	}
	for _, chapter := range []func(context.Context) error{s.quiet, s.change, s.alarm, s.answer, s.recovery} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// firstChampion ingests the dataset and trains what serves first.
func (s *story) firstChampion(ctx context.Context) (source, error) {
	in := map[string]any{"source": s.Dataset, "data": s.Data, "seed": s.Seed, "train": 6000, "test": 2000}
	var set struct {
		Dataset     string `json:"dataset"`
		Train, Test int
	}
	s.screen.Event("1. ingest   %s ...", s.Dataset)
	if err := s.client.Post(ctx, "/api/v1/ingest", in, &set); err != nil {
		return nil, fmt.Errorf("demo: ingest: %w", err)
	}
	s.screen.Event("            %s: %d training and %d test images, checked and stored", set.Dataset, set.Train, set.Test)
	var started struct {
		Run string `json:"run"`
	}
	s.screen.Event("2. train    the first champion")
	train := map[string]any{"dataset": set.Dataset, "promote": true}
	if set.Train > manyImages {
		train["options"] = map[string]int{"epochs": 4} // enough of so many, and the story goes on
	}
	if err := s.client.Post(ctx, "/api/v1/train", train, &started); err != nil {
		return nil, fmt.Errorf("demo: train: %w", err)
	}
	run, err := s.follow(ctx, started.Run)
	if err != nil {
		return nil, err
	}
	if run.State != "done" {
		return nil, fmt.Errorf("demo: the first training %s: %s", run.State, run.Error)
	}
	if err := s.until(ctx, func(st status) bool { return st.Champion != nil && st.Serving == st.Champion.Version }); err != nil {
		return nil, err
	}
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	s.report.ChampionBefore = string(st.Champion.Version)
	s.screen.Event("            champion %s serves", st.Champion.Version.Short())
	return s.source()
}

func (s *story) source() (source, error) {
	if s.Dataset == "synthetic" {
		return &garments{rand.New(rand.NewPCG(s.Seed, 1<<32))}, nil
	}
	set, err := dataset.ReadFashionMNIST(s.Data)
	if err != nil {
		return nil, err
	}
	return newReplay(set, rand.New(rand.NewPCG(s.Seed, 1<<33))), nil
}

// openDoors starts traffic and labelling; the returned func ends both.
func (s *story) openDoors(ctx context.Context, cancel context.CancelCauseFunc, src source) func() {
	s.world = &world{classes: driftgate.FashionMNIST, truth: map[string]int{}}
	s.users = &users{client: s.client, world: s.world, clock: s.clock, perHour: perHour, flags: flags, fixes: fixes,
		rng: rand.New(rand.NewPCG(s.Seed, 2))}
	s.people = &annotators{client: s.client, world: s.world, delay: delay, wrong: wrong, seed: s.Seed}
	work, stop := context.WithCancel(ctx)
	done := make(chan struct{}, 3)
	loop := func(f func() error) {
		if err := f(); err != nil {
			cancel(err)
		}
		done <- struct{}{}
	}
	s.opened = s.clock.Now()
	s.clock.Run(speed)
	go loop(func() error { return s.users.Run(work, src) })
	go loop(func() error { return s.people.Run(work) })
	go loop(func() error { return s.pace(work) })
	s.screen.Event("3. serve    the doors are open, %s", s.clock.Now().Format("Mon 2 Jan 15:04"))
	return func() { stop(); <-done; <-done; <-done }
}

// quiet is the time in which all is well.
func (s *story) quiet(ctx context.Context) error {
	begun := s.clock.Now()
	err := s.watch(ctx, func(st status) (bool, error) {
		if firing(st) {
			return false, fmt.Errorf("demo: the alarm fired before anything drifted, on %s", st.Alarm.Since)
		}
		calm := s.clock.Now().Sub(begun) >= quietDays*24*time.Hour
		return calm && st.Alarm.Watching, nil
	})
	if err != nil {
		return err
	}
	s.report.BaselineAccuracy, err = s.accuracy(ctx, s.report.ChampionBefore)
	s.screen.Event("            quiet for %d days: production accuracy %.3f", quietDays, s.report.BaselineAccuracy)
	return err
}

// change lets the world drift.
func (s *story) change(ctx context.Context) error {
	s.drift = s.clock.Now()
	s.report.DriftAt = s.drift.Format(time.RFC3339)
	s.world.drifted.Store(true)
	s.screen.Event("4. drift    from now on pictures arrive turned by 90 degrees, %s", s.drift.Format("Mon 2 Jan 15:04"))
	return s.gateway.Mark(ctx, "drift_begin", "the demo turned the pictures by 90 degrees")
}

// alarm waits for the gateway to notice by itself.
func (s *story) alarm(ctx context.Context) error {
	var fired time.Time
	err := s.watch(ctx, func(st status) (bool, error) {
		if firing(st) {
			fired = st.Alarm.Since
			return true, nil
		}
		if s.clock.Now().Sub(s.drift) > patience {
			return false, fmt.Errorf("demo: no alarm within %s of the drift", patience)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	s.report.AlarmAt = fired.Format(time.RFC3339)
	s.screen.Event("5. alarm    fires, over predictions up to %s after the drift began; their labels were waited for until %s after it",
		hours(fired.Sub(s.drift)), hours(s.clock.Now().Sub(s.drift)))
	if fired.Before(s.drift) {
		return fmt.Errorf("demo: the alarm (%s) fired before the drift (%s)", fired, s.drift)
	}
	return nil
}

// answer waits for the retraining that the alarm triggered.
func (s *story) answer(ctx context.Context) error {
	var run ledger.Run
	err := s.watch(ctx, func(st status) (bool, error) {
		var list struct{ Runs []ledger.Run }
		if err := s.client.Get(ctx, "/api/v1/runs?pipeline=retrain&limit=1", &list); err != nil {
			return false, fmt.Errorf("demo: runs: %w", err)
		}
		if len(list.Runs) > 0 && list.Runs[0].Finished() {
			run = list.Runs[0]
			return true, nil
		}
		if s.clock.Now().Sub(s.drift) > 2*patience {
			return false, fmt.Errorf("demo: no retraining ended within %s of the drift", 2*patience)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if s.report.DriftedAccuracy, err = s.accuracy(ctx, s.report.ChampionBefore); err != nil {
		return err
	}
	return s.verdict(ctx, run)
}

// recovery waits until the new champion's own figure can be told.
func (s *story) recovery(ctx context.Context) error {
	promoted := s.clock.Now()
	err := s.watch(ctx, func(st status) (bool, error) {
		return s.clock.Now().Sub(promoted) >= recoverFor, nil
	})
	if err != nil {
		return err
	}
	if s.report.RecoveredAccuracy, err = s.accuracy(ctx, s.report.ChampionAfter); err != nil {
		return err
	}
	s.screen.Event("8. recovery production accuracy %.3f", s.report.RecoveredAccuracy)
	if !(s.report.RecoveredAccuracy > s.report.DriftedAccuracy) {
		return fmt.Errorf("demo: the accuracy did not recover: %.3f, under drift %.3f", s.report.RecoveredAccuracy, s.report.DriftedAccuracy)
	}
	return nil
}

// calm is the story without drift: nothing must happen.
func (s *story) calm(ctx context.Context) error {
	begun := s.clock.Now()
	err := s.watch(ctx, func(st status) (bool, error) {
		if firing(st) {
			s.report.FalseAlarm = true
			return false, fmt.Errorf("demo: a false alarm on %s", st.Alarm.Since)
		}
		return s.clock.Now().Sub(begun) >= calmDays*24*time.Hour, nil
	})
	if err != nil {
		return err
	}
	s.report.ChampionAfter = s.report.ChampionBefore
	s.report.BaselineAccuracy, err = s.accuracy(ctx, s.report.ChampionBefore)
	s.screen.Event("            %d days without drift, and without an alarm", calmDays)
	return err
}

func hours(d time.Duration) string { return fmt.Sprintf("%.0f hours", d.Hours()) }

// accuracy is the headline figure of a version, over the day up to now, or an
// error when it has none.
func (s *story) accuracy(ctx context.Context, version string) (float64, error) {
	var a driftgate.Accuracy
	q := url.Values{"window": {headline.String()}, "version": {driftgate.ModelRef(version).Short()}}
	if err := s.client.Get(ctx, "/api/v1/accuracy?"+q.Encode(), &a); err != nil {
		return 0, fmt.Errorf("demo: accuracy: %w", err)
	}
	if e, ok := a.Estimate(estimator); ok && !math.IsNaN(e.Accuracy) {
		return e.Accuracy, nil
	}
	return 0, fmt.Errorf("demo: no %s accuracy of %s over %s yet: %w", estimator, driftgate.ModelRef(version).Short(), headline, driftgate.ErrTooFewSamples)
}

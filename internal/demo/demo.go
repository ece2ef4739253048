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
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/config"
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

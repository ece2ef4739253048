package demo

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"time"

	"driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
)

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
	s.people = &annotators{client: s.client, world: s.world, think: max(20*time.Millisecond, delay/speed), wrong: wrong, seed: s.Seed}
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
	s.report.AlarmAt = s.clock.Now().UTC().Format(time.RFC3339) // when it was raised, not the slot that raised it
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

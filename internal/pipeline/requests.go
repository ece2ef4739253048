package pipeline

import (
	"context"
	"errors"
	"time"

	dg "driftgate"
)

// maxTicks bounds how many missed times of the cron are looked through.
const maxTicks = 100_000

// retrainDue submits a schedule trigger for the newest time of the cron that
// has passed since the last one looked at.
func (s *Scheduler) retrainDue(ctx context.Context) error {
	const pipeline = "retrain"
	now := s.o.Now().UTC()
	text, ok, err := s.settings.Setting(ctx, placeKey(pipeline))
	if err != nil {
		return err
	}
	last, err := time.Parse(time.RFC3339, text)
	if !ok || err != nil || last.After(now) {
		return s.settings.SetSetting(ctx, placeKey(pipeline), now.Format(time.RFC3339))
	}
	var due time.Time
	for range maxTicks {
		next := s.cron.Next(last.UTC())
		if next.IsZero() || next.After(now) {
			break
		}
		due, last = next, next
	}
	if due.IsZero() {
		return nil
	}
	at := due.UTC().Format(time.RFC3339)
	_, err = s.inbox.Submit(ctx, dg.Trigger{Source: dg.FromSchedule, Model: s.o.Model, At: due,
		Reason: "schedule " + s.o.RetrainCron, DedupeKey: "schedule-" + at})
	if err != nil {
		return err
	}
	s.Wake()
	return s.settings.SetSetting(ctx, placeKey(pipeline), at)
}

// startRequested starts what the inbox has accepted, after asking it to think
// again about what it had put off.
func (s *Scheduler) startRequested(ctx context.Context) error {
	_, err := s.inbox.Reconsider(ctx)
	runs, err2 := s.inbox.Requested(ctx)
	errs := []error{err, err2}
	for _, r := range runs {
		errs = append(errs, s.engine.StartFor(ctx, r.ID, r.Pipeline, r.Model, r.Input))
	}
	return errors.Join(errs...)
}

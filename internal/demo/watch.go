package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
	"driftgate/metrics"
	"driftgate/trainer"
)

// status is what the demo reads of GET /api/v1/status.
type status struct {
	Champion *driftgate.Champion `json:"champion"`
	Serving  driftgate.ModelRef  `json:"serving"`
	Captured int                 `json:"captured"`
	Spool    struct {
		Items int `json:"items"`
	} `json:"spool"`
	Labels  ledger.LabelProgress `json:"labels"`
	Windows []driftgate.Accuracy `json:"windows"`
	Alarm   metrics.AlarmStatus  `json:"alarm"`
	Runs    []ledger.Run         `json:"runs"`
}

func (s *story) status(ctx context.Context) (status, error) {
	var st status
	err := s.client.Get(ctx, "/api/v1/status", &st)
	return st, err
}

// glance is the distance between two looks at the gateway.
const glance = 300 * time.Millisecond

// watch draws the state until done says so.
func (s *story) watch(ctx context.Context, done func(status) (bool, error)) error {
	for {
		st, err := s.status(ctx)
		if err != nil {
			return fmt.Errorf("demo: status: %w", err)
		}
		s.draw(st)
		if ok, err := done(st); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(glance):
		}
	}
}

// until waits without drawing.
func (s *story) until(ctx context.Context, done func(status) bool) error {
	for {
		st, err := s.status(ctx)
		if err != nil {
			return fmt.Errorf("demo: status: %w", err)
		}
		if done(st) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(glance):
		}
	}
}

// follow draws a training run's progress until it ends.
func (s *story) follow(ctx context.Context, id string) (ledger.Run, error) {
	for {
		var run ledger.Run
		if err := s.client.Get(ctx, "/api/v1/runs/"+id, &run); err != nil {
			return run, fmt.Errorf("demo: run %s: %w", id, err)
		}
		switch run.State {
		case "done", "failed", "cancelled":
			s.screen.Done()
			return run, nil
		}
		if line := progress(run); line != "" {
			s.screen.Block("            "+line, []string{"            " + line})
		}
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-time.After(glance):
		}
	}
}

// progress renders a run's training progress as one line.
func progress(run ledger.Run) string {
	var p trainer.Progress
	if len(run.Progress) == 0 || json.Unmarshal(run.Progress, &p) != nil {
		return ""
	}
	return p.Line()
}

// draw shows each station of the loop.
func (s *story) draw(st status) {
	now := s.clock.Now()
	figure, accuracy := "no figure yet", math.NaN()
	for _, w := range st.Windows {
		if e, ok := w.Estimate(estimator); ok && w.End.Sub(w.Start) == headline {
			accuracy = e.Accuracy
			figure = fmt.Sprintf("%.3f  [%.3f, %.3f]  %d labels of %d predictions in 24h", e.Accuracy, e.Lower, e.Upper, e.Labels, w.Predictions)
		}
	}
	if bucket := int(now.Sub(s.opened) / (6 * time.Hour)); bucket >= len(s.path) {
		s.path = append(s.path, accuracy)
	}
	serving := st.Serving.Short()
	lines := []string{
		"",
		fmt.Sprintf("  %s    (%d× the wall's time)", now.Format("Mon 2 Jan 2006 15:04"), speed),
		fmt.Sprintf("  traffic   %6d served, %d in S3, %d on the spool", s.users.served.Load(), st.Captured, st.Spool.Items),
		fmt.Sprintf("  labels    %6d given, %d collected, %d waiting", s.people.given.Load(), st.Labels.Labelled, st.Labels.Waiting),
		fmt.Sprintf("  accuracy  %s", figure),
		fmt.Sprintf("            %s", spark(s.path)),
		fmt.Sprintf("  alarm     %s", s.alarmLine(st.Alarm)),
		fmt.Sprintf("  model     %s%s", serving, s.runLine(st)),
	}
	brief := fmt.Sprintf("            %s  %5d served  %4d labels  accuracy %s  alarm %s%s", now.Format("2 Jan 15:04"), s.users.served.Load(), st.Labels.Labelled, figure, s.alarmLine(st.Alarm), s.runLine(st))
	s.screen.Block(brief, lines)
}

func (s *story) alarmLine(a metrics.AlarmStatus) string {
	if !a.Watching {
		return fmt.Sprintf("learning its reference: %d of %d labels", a.ReferenceLabels, a.ReferenceNeeded)
	}
	return fmt.Sprintf("%s, evidence %.2g of %g years; error should stay under %.3f", a.State, a.Evidence, a.ThresholdYears, a.P0)
}

// firing reports whether the gateway's alarm is on.
func firing(st status) bool { return st.Alarm.State == estimate.Firing }

func (s *story) runLine(st status) string {
	for _, r := range st.Runs {
		if (r.Pipeline == "retrain" || r.Pipeline == "train") && (r.State == "running" || r.State == "requested") {
			if line := progress(r); line != "" {
				return "   retraining: " + line
			}
			return "   retraining"
		}
	}
	return ""
}

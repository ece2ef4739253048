package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/pipeline"
)

// verdict tells how the retraining ended, and demands a promotion.
func (s *story) verdict(ctx context.Context, run ledger.Run) error {
	s.report.Verdict, s.report.Trigger = run.Verdict, run.TriggerID
	var triggers struct {
		Triggers []ledger.TriggerRecord `json:"triggers"`
	}
	if err := s.client.Get(ctx, "/api/v1/triggers", &triggers); err != nil {
		return fmt.Errorf("demo: triggers: %w", err)
	}
	for _, t := range triggers.Triggers {
		if t.ID == run.TriggerID {
			s.report.Trigger = string(t.Source)
		}
	}
	if run.State != "done" {
		return fmt.Errorf("demo: the retraining %s: %s", run.State, run.Error)
	}
	var result pipeline.RetrainResult
	if err := json.Unmarshal(run.Result, &result); err != nil {
		return fmt.Errorf("demo: result of run %s: %w", run.ID, err)
	}
	c := result.Comparison
	s.screen.Event("6. retrain  challenger %s against champion %s", result.Challenger.Short(), c.Champion.Short())
	s.screen.Event("7. verdict  %s: accuracy %+.3f [%+.3f, %+.3f] on %d held-out labels", run.Verdict, c.Difference, c.Lower, c.Upper, c.Pairs)
	for _, r := range c.Reasons {
		s.screen.Event("            %s", r)
	}
	if run.Verdict != driftgate.Promote.String() {
		return fmt.Errorf("demo: the challenger was not promoted: %s", run.Verdict)
	}
	s.report.ChampionAfter = string(result.Challenger)
	return s.until(ctx, func(st status) bool { return st.Serving == result.Challenger })
}

// epilogue writes the report and the closing table.
func (s *story) epilogue(ctx context.Context) error {
	served := s.users.served.Load()
	patient, cancel := context.WithTimeout(ctx, 15*time.Second) // for the spool, and for a count that may be seconds old
	defer cancel()
	_ = s.until(patient, func(st status) bool { return int64(st.Captured) >= served })
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	s.report.Predictions = served
	s.report.Captured = st.Captured
	s.report.Labelled = st.Labels.Labelled
	s.report.Seconds = time.Since(s.begun).Seconds()
	s.report.PeakMiB = peakMiB()
	if s.Options.Report != "" {
		b, err := json.MarshalIndent(s.report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.Options.Report, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("demo: write report: %w", err)
		}
	}
	s.screen.Done()
	s.table(s.Out)
	return nil
}

func (s *story) table(w io.Writer) {
	r := s.report
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-22s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "\n%s\n", strings.Repeat("─", 72))
	row("predictions", "%d served, %d in S3", r.Predictions, r.Captured)
	row("labels", "%d collected", r.Labelled)
	row("baseline accuracy", "%.3f", r.BaselineAccuracy)
	if s.NoDrift {
		row("alarm", "none in %d days without drift", calmDays)
	} else {
		row("accuracy under drift", "%.3f", r.DriftedAccuracy)
		row("alarm", "%s (drift began %s)", r.AlarmAt, r.DriftAt)
		row("trigger, verdict", "%s, %s", r.Trigger, r.Verdict)
		row("champion", "%s -> %s", driftgate.ModelRef(r.ChampionBefore).Short(), driftgate.ModelRef(r.ChampionAfter).Short())
		row("recovered accuracy", "%.3f", r.RecoveredAccuracy)
	}
	row("took", "%.0f s, at most %d MiB", r.Seconds, r.PeakMiB)
	if !s.Exit {
		row("look at", "%s", s.gateway.SignIn("/accuracy"))
		row("", "and /models  /label  /runs  /decisions  /")
	}
	if s.Options.Report != "" {
		row("report", "%s", s.Options.Report)
	}
	fmt.Fprintln(w, strings.Repeat("─", 72))
}

// peakMiB is the largest resident size of this process so far, in MiB; 0 where
// the system does not say. The training child is not in it.
func peakMiB() int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}

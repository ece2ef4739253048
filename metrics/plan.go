package metrics

import (
	"context"
	"fmt"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// Plan says how many random labels a day give accuracy bounds of at most
// halfWidth (0 to 1) to either side, over windows of that length, with the
// champion's traffic and accuracies of the newest one. The error is
// [driftgate.ErrInvalid] for a wish that no number of labels fulfils (the plan
// then holds the best that can be had), and [driftgate.ErrTooFewSamples] for a
// window without predictions.
func (m *Metrics) Plan(ctx context.Context, window time.Duration, halfWidth float64) (estimate.Plan, error) {
	if m.invalid != nil {
		return estimate.Plan{}, m.invalid
	}
	if window <= 0 {
		return estimate.Plan{}, fmt.Errorf("metrics: plan: window %s: want over 0s: %w", window, dg.ErrInvalid)
	}
	end := ceil(m.o.Now().UTC(), m.o.Stride)
	counts, err := m.ledger.Counts(ctx, m.serving().Version.Short(), dg.Interval{Start: end.Add(-window), End: end})
	if err != nil {
		return estimate.Plan{}, fmt.Errorf("metrics: plan: %w", err)
	}
	p, err := estimate.PlanLabels(estimate.PlanFrom(counts), window, halfWidth)
	if err != nil {
		return p, fmt.Errorf("metrics: plan: %w", err)
	}
	return p, nil
}

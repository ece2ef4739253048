package metrics

import (
	"context"
	"fmt"
	"time"

	"driftgate/internal/estimate"
)

// Plan says how many random labels a day give the window's accuracy bounds of
// at most ± halfWidth (0 to 1), with the traffic and the accuracies of the
// window of that length that ends now. The error is [driftgate.ErrInvalid] for
// a wish that no number of labels fulfils, with the best that can be had, and
// [driftgate.ErrTooFewSamples] for a window without predictions.
func (m *Metrics) Plan(ctx context.Context, window time.Duration, halfWidth float64) (estimate.Plan, error) {
	_ = ctx
	return estimate.Plan{}, fmt.Errorf("metrics: plan %s %g", window, halfWidth)
}

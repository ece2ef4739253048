package estimate

import (
	"fmt"
	"time"

	dg "driftgate"
)

// BurnFactor is how many times faster than allowed an error budget is spent
// when the share `budget` of a period's budget goes in one window (Google, The
// Site Reliability Workbook, chapter 5): 2% of 30 days' in 1 h is 14.4, 5% in
// 6 h is 6, 10% in 3 days is 1. No window gives 0.
func BurnFactor(budget float64, window, period time.Duration) float64 {
	if window <= 0 {
		return 0
	}
	return budget * float64(period) / float64(window)
}

// BurnErrorRate is the error rate above which a rule with this factor fires for
// an accuracy objective slo: factor (1 - slo). An objective of .90 with factor
// 14.4 asks for an error rate of 1.44 and could never fire, and one of .95 for
// .72: a rate that is not below reachable is refused as [dg.ErrInvalid], with
// the arithmetic.
func BurnErrorRate(factor, slo, reachable float64) (float64, error) {
	if !(factor > 0) || !(slo > 0 && slo < 1) || !(reachable > 0 && reachable <= 1) {
		return 0, fmt.Errorf("estimate: burn rate: factor %g, objective %g, reachable %g: want a factor above 0, an objective between 0 and 1, reachable above 0 and at most 1: %w", factor, slo, reachable, dg.ErrInvalid)
	}
	rate := factor * (1 - slo)
	if rate >= reachable {
		return rate, fmt.Errorf("estimate: burn rate: %g x (1 - %g) = %.3g: an error rate of %g is not reached in practice, so the rule would never fire: want a smaller factor or a higher objective: %w",
			factor, slo, rate, reachable, dg.ErrInvalid)
	}
	return rate, nil
}

package estimate

import "math"

// DetectionDelay is about how many blocks the drift alarm needs once the error
// has risen to errorRate and stays there: what a deployment can hope for.
// blocksPerYear is the rate at which blocks come. It is +Inf when no component
// of the detector grows at that error, which is so at P0 and a little above it.
//
// Each component with bet lambda then gains g = E log(1 + lambda (T - p0)) a
// block, so that its Shiryaev-Roberts sum, begun at nothing, reaches all of the
// mixture's threshold, the number of components times ThresholdYears, after
//
//	log(1 + components * ThresholdYears * blocksPerYear * (1 - exp(-g))) / g
//
// blocks; the fastest component counts. T is taken to be 0 or 1. The logarithm
// is concave, so blocks that weigh several strata gain at least as much, and
// the evidence that had already gathered shortens the wait too: simulated
// medians are about three quarters of this.
func (d Detector) DetectionDelay(errorRate, blocksPerYear float64) float64 {
	delay := math.Inf(1)
	if d.Validate() != nil || !(errorRate >= 0 && errorRate <= 1) || !(blocksPerYear > 0) || math.IsInf(blocksPerYear, 1) {
		return delay
	}
	for _, lambda := range d.lambdas() {
		gain := errorRate*math.Log1p(lambda*(1-d.P0)) + (1-errorRate)*math.Log1p(-lambda*d.P0)
		if gain <= 0 {
			continue
		}
		goal := float64(len(deltas)) * d.ThresholdYears * blocksPerYear * -math.Expm1(-gain)
		delay = min(delay, math.Log1p(goal)/gain)
	}
	return delay
}

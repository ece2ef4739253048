package estimate

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// EProcess is the plain evidence against "error <= p0" after these answers in
// order (true: wrong): the product of 1 + lambda (e - p0), 0 <= lambda < 1/p0.
// It may be looked at after every answer, and speaks at 1/alpha. Errors
// 0,0,1,0,1,1,0,1 with p0 = .1, lambda = 2 give 25.17630976. It is for answers
// drawn alike; labels picked by stratum belong to [Detector].
func EProcess(wrong []bool, p0, lambda float64) float64 {
	w := 1.0
	for _, e := range wrong {
		x := 0.0
		if e {
			x = 1
		}
		w *= 1 + lambda*(x-p0)
	}
	return w
}

// ConfidenceSequence is the interval for the mean of n draws from [0, 1] whose
// sum is k. It holds at all n at once with probability 1-alpha, and is tightest
// near n = tOpt, which must be fixed before the first look: the two-sided
// beta-binomial mixture (bernoulli_confidence_interval of confseq). 700 of
// 1,000 with alpha .05, tOpt 100 is 0.651630 to 0.745950. No draws say nothing:
// 0 and 1. A sum outside 0 to n is taken as the nearer end.
//
// Whole answers are not needed: for a mean p and any q, (q/p)^x
// ((1-q)/(1-p))^(1-x) is convex in x, so over x in [0, 1] with mean p its
// expectation is at most that of a coin with mean p, which is 1.
func ConfidenceSequence(k float64, n int, alpha, tOpt float64) (lower, upper float64) {
	if n <= 0 {
		return 0, 1
	}
	r := mixtureR(tOpt)
	nf := float64(n)
	k = min(nf, max(0, k))
	inside := func(p float64) bool {
		log := mathext.Lbeta(r*p+k, r*(1-p)+nf-k) - mathext.Lbeta(r*p, r*(1-p))
		if k > 0 {
			log -= k * math.Log(p)
		}
		if k < nf {
			log -= (nf - k) * math.Log1p(-p)
		}
		return log < math.Log(1/alpha)
	}
	hat := k / nf
	// The prior moves with p, so at k = 0 or n the ratio is best just inside.
	mid := min(1-1e-9, max(1e-9, hat))
	lower, upper = 0, 1
	if k > 0 {
		lower = edge(inside, 0, mid)
	}
	if k < nf {
		upper = edge(inside, 1, mid)
	}
	return lower, upper
}

// mixtureR is the weight of the mixing Beta that makes [ConfidenceSequence]
// tightest at tOpt: 11.600561 for 100.
func mixtureR(tOpt float64) float64 {
	const a = .05 // the level at which tOpt is optimal; fixed, whatever alpha is
	l := math.Log(1 / a)
	return max(tOpt/(2*l+math.Log(1+2*l))-1, .001)
}

// edge bisects for where inside begins, between out (outside) and in.
func edge(inside func(float64) bool, out, in float64) float64 {
	for range 100 {
		mid := out + (in-out)/2
		if mid == out || mid == in {
			break
		}
		if inside(mid) {
			in = mid
		} else {
			out = mid
		}
	}
	return in
}

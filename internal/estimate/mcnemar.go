package estimate

import "gonum.org/v1/gonum/mathext"

// McNemar is the exact two-sided p-value of b against c discordant pairs:
// min(1, 2 sum over i <= min(b,c) of C(b+c,i)/2^(b+c)); 1 without any. (70,59)
// is .3786877, (30,60) is .0020603. It answers only for pairs drawn alike.
func McNemar(b, c int) float64 {
	low, n := min(b, c), b+c
	if low < 0 || n == 0 || low == n-low {
		return 1
	}
	return min(1, 2*mathext.RegIncBeta(float64(n-low), float64(low+1), .5))
}

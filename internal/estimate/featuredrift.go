package estimate

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	dg "driftgate"
)

// minFeatures is the least number of predictions on either side: below it the
// covariance, and the normal limit of the mean, cannot be relied on.
const minFeatures = 50

// FeatureDrift compares the penultimate features of now with those of the
// reference, both as sums of the same [Sketch]: the maximum mean discrepancy,
// the distance between the two mean sketches, 0 alike to 2.
//
// Without drift nm/(n+m) times its square is about sum lambda_i chi2_1, lambda
// the eigenvalues of the reference's covariance; its tail is the saddlepoint
// approximation of [quadraticTail]. The error is [dg.ErrInvalid] for sums of
// different sketches or a level outside 0 to 1, and [dg.ErrTooFewSamples] with
// fewer than 50 predictions on either side.
func FeatureDrift(now, reference FeatureSums, level float64) (Drift, error) {
	for _, f := range []FeatureSums{now, reference} {
		if err := f.check(); err != nil {
			return Drift{}, fmt.Errorf("estimate: feature drift: %w", err)
		}
	}
	if err := checkLevel(level); err != nil {
		return Drift{}, fmt.Errorf("estimate: feature drift: %w", err)
	}
	if now.N < minFeatures || reference.N < minFeatures {
		return Drift{}, fmt.Errorf("estimate: feature drift: %d predictions against %d of the reference: want at least %d: %w", now.N, reference.N, minFeatures, dg.ErrTooFewSamples)
	}
	if len(now.Sum) != len(reference.Sum) {
		return Drift{}, fmt.Errorf("estimate: feature drift: length %d against %d: want the same sketch: %w", len(now.Sum), len(reference.Sum), dg.ErrInvalid)
	}
	n, m := float64(now.N), float64(reference.N)
	var square float64
	for i := range now.Sum {
		x := now.Sum[i]/n - reference.Sum[i]/m
		square += x * x
	}
	lambdas := reference.eigenvalues()
	scale := n * m / (n + m)
	d := Drift{Score: math.Sqrt(square), PValue: 1, Predictions: now.N, Reference: reference.N}
	if len(lambdas) == 0 { // all of the reference alike: any difference is drift
		if square > 1e-18 {
			d.PValue = 0
		}
		d.Threshold = 1e-9
		return d, nil
	}
	d.PValue = quadraticTail(lambdas, scale*square)
	d.Threshold = math.Sqrt(quadraticQuantile(lambdas, level) / scale)
	return d, nil
}

// eigenvalues are those of the covariance of phi that are not 0 but for
// rounding.
func (f FeatureSums) eigenvalues() []float64 {
	d, n := len(f.Sum), float64(f.N)
	cov := mat.NewSymDense(d, nil)
	at := 0
	for i := range d {
		for j := i; j < d; j++ {
			cov.SetSym(i, j, (f.Cross[at]-f.Sum[i]*f.Sum[j]/n)/(n-1))
			at++
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(cov, false) {
		return nil
	}
	var out []float64
	for _, x := range eigen.Values(nil) {
		if x > 1e-12 {
			out = append(out, x)
		}
	}
	return out
}

// quadraticTail is P(sum lambda_i chi2_1 > x), lambda over 0, by the saddlepoint
// approximation in Barndorff-Nielsen's form (Kuonen 1999, Biometrika 86): its
// relative error stays small however far out x lies, where approximations by
// moments decay too fast.
func quadraticTail(lambdas []float64, x float64) float64 {
	var mean, largest, variance, third float64
	for _, l := range lambdas {
		mean += l
		variance += 2 * l * l
		third += 8 * l * l * l
		largest = max(largest, l)
	}
	if x <= 0 {
		return 1
	}
	// Near the mean the formula is 0/0; its limit is known.
	if math.Abs(x-mean) < 1e-4*math.Sqrt(variance) {
		return math.Erfc(third/(6*math.Pow(variance, 1.5))/math.Sqrt2) / 2
	}
	// K'(z) = sum lambda/(1 - 2 z lambda) = x, increasing for z < 1/(2 largest).
	lo, hi := -float64(len(lambdas))/(2*x), 1/(2*largest)
	slope := func(z float64) float64 {
		var k float64
		for _, l := range lambdas {
			k += l / (1 - 2*z*l)
		}
		return k
	}
	for range 200 {
		mid := lo + (hi-lo)/2
		if mid == lo || mid == hi {
			break
		}
		if slope(mid) < x {
			lo = mid
		} else {
			hi = mid
		}
	}
	z := lo
	var k, k2 float64
	for _, l := range lambdas {
		k -= math.Log1p(-2*z*l) / 2
		k2 += 2 * l * l / ((1 - 2*z*l) * (1 - 2*z*l))
	}
	w := math.Copysign(math.Sqrt(max(0, 2*(z*x-k))), z)
	v := z * math.Sqrt(k2)
	return clamp(math.Erfc((w+math.Log(v/w)/w)/math.Sqrt2) / 2)
}

// quadraticQuantile is where [quadraticTail] falls to level.
func quadraticQuantile(lambdas []float64, level float64) float64 {
	var lo, hi float64
	for _, l := range lambdas {
		hi += l
	}
	for quadraticTail(lambdas, hi) > level {
		lo, hi = hi, 2*hi
	}
	for range 100 {
		mid := lo + (hi-lo)/2
		if mid == lo || mid == hi {
			break
		}
		if quadraticTail(lambdas, mid) > level {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

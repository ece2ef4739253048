package kernel

import "math"

// SoftmaxCrossEntropy writes into dlogits the gradient of the loss of one row of
// logits, softmax(logits)*sum(target) - target, and returns the loss,
// -sum(target * log softmax(logits)). The largest logit is subtracted first, so
// nothing overflows. A NaN among the logits makes the loss NaN. dlogits may be
// logits.
func SoftmaxCrossEntropy(dlogits, logits, target []float32) float64 {
	n := len(logits)
	if n == 0 {
		return 0
	}
	dlogits, target = dlogits[:n], target[:n]
	top := logits[0]
	for _, v := range logits[1:] {
		top = max(top, v)
	}
	var weight, product float64 // of targets, and of targets with logits below the top
	for i, w := range target {
		if w != 0 {
			weight += float64(w)
			product += float64(w) * float64(logits[i]-top)
		}
	}
	z := exps(dlogits, logits, top)
	scaleSubtract(dlogits, target, float32(weight/z))
	return weight*math.Log(z) - product
}

// exps writes exp(x - shift), within 2 units in the last place of float32, and
// returns the sum. There is at least one value; dst may be x.
func exps(dst, x []float32, shift float32) float64 {
	switch active {
	case AVX512:
		return exps512(&dst[0], &x[0], len(x), shift)
	case AVX2:
		return exps256(&dst[0], &x[0], len(x), shift)
	}
	var sum float64
	for i, v := range x {
		y := math.Exp(float64(v - shift))
		sum += y
		dst[i] = float32(y)
	}
	return sum
}

// scaleSubtract writes y = a*y - x.
func scaleSubtract(y, x []float32, a float32) {
	switch active {
	case AVX512:
		scaleSubtract512(&y[0], &x[0], a, len(x))
	case AVX2:
		scaleSubtract256(&y[0], &x[0], a, len(x))
	default:
		for i, v := range x {
			y[i] = a*y[i] - v
		}
	}
}

package kernel

import "math"

// SoftmaxCrossEntropy writes into dlogits the gradient of the loss of one row of
// logits, softmax(logits)*sum(target) - target, and returns the loss,
// -sum(target * log softmax(logits)). The largest logit is subtracted first, so
// nothing overflows.
func SoftmaxCrossEntropy(dlogits, logits, target []float32) float64 {
	top := logits[0]
	for _, v := range logits[1:] {
		top = max(top, v)
	}
	var z, weight float64
	for _, v := range logits {
		z += math.Exp(float64(v - top))
	}
	for _, w := range target[:len(logits)] {
		weight += float64(w)
	}
	logZ, loss := math.Log(z), 0.0
	for i, v := range logits {
		w := float64(target[i])
		if w != 0 {
			loss += w * (logZ - float64(v-top))
		}
		dlogits[i] = float32(math.Exp(float64(v-top))/z*weight - w)
	}
	return loss
}

package kernel

import "math"

// SGD is one step of stochastic gradient descent with momentum, in PyTorch's
// form: v = momentum*v + scale*g + decay*w; w -= rate*v.
func SGD(w, v, g []float32, rate, momentum, decay, scale float32) {
	for i, x := range w {
		u := momentum*v[i] + scale*g[i] + decay*x
		v[i] = u
		w[i] = x - rate*u
	}
}

// Adam is one step of Adam (Kingma & Ba, 2015) with decoupled weight decay
// (Loshchilov & Hutter, 2019), in PyTorch's form: w -= rate*decay*w; with
// h = scale*g: m += (1-beta1)*(h-m), s += (1-beta2)*(h*h-s),
// w -= step * m / (sqrt(s)*correct + epsilon). step is rate/(1-beta1^t),
// correct is 1/sqrt(1-beta2^t).
func Adam(w, m, s, g []float32, rate, beta1, beta2, epsilon, decay, scale, step, correct float32) {
	for i, x := range w {
		h := scale * g[i]
		m[i] += (1 - beta1) * (h - m[i])
		s[i] += (1 - beta2) * (h*h - s[i])
		w[i] = x - rate*decay*x - step*m[i]/(float32(math.Sqrt(float64(s[i])))*correct+epsilon)
	}
}

// SumSquares is the sum of the squares of x.
func SumSquares(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

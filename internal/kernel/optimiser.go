package kernel

import "math"

// SGD is one step of stochastic gradient descent with momentum, in PyTorch's
// form: v = momentum*v + scale*g + decay*w; w -= rate*v.
func SGD(w, v, g []float32, rate, momentum, decay, scale float32) {
	n := len(w)
	if n == 0 {
		return
	}
	v, g = v[:n], g[:n]
	switch active {
	case AVX512:
		sgd512(&w[0], &v[0], &g[0], n, rate, momentum, decay, scale)
	case AVX2:
		sgd256(&w[0], &v[0], &g[0], n, rate, momentum, decay, scale)
	default:
		for i, x := range w {
			u := momentum*v[i] + scale*g[i] + decay*x
			v[i] = u
			w[i] = x - rate*u
		}
	}
}

// Adam is one step of Adam (Kingma & Ba, 2015) with decoupled weight decay
// (Loshchilov & Hutter, 2019), in PyTorch's form: w -= rate*decay*w; with
// h = scale*g: m += rise1*(h-m), s += rise2*(h*h-s),
// w -= step * m / (sqrt(s)*correct + epsilon). rise1 is 1-beta1, rise2 1-beta2,
// whose digits a float32 close to 1 would lose; step is rate/(1-beta1^t), correct
// is 1/sqrt(1-beta2^t).
func Adam(w, m, s, g []float32, rate, rise1, rise2, epsilon, decay, scale, step, correct float32) {
	n := len(w)
	if n == 0 {
		return
	}
	m, s, g = m[:n], s[:n], g[:n]
	keep := 1 - rate*decay
	switch active {
	case AVX512:
		adam512(&w[0], &m[0], &s[0], &g[0], n, keep, rise1, rise2, epsilon, scale, step, correct)
	case AVX2:
		adam256(&w[0], &m[0], &s[0], &g[0], n, keep, rise1, rise2, epsilon, scale, step, correct)
	default:
		for i, x := range w {
			h := scale * g[i]
			m[i] += rise1 * (h - m[i])
			s[i] += rise2 * (h*h - s[i])
			w[i] = keep*x - step*m[i]/(float32(math.Sqrt(float64(s[i])))*correct+epsilon)
		}
	}
}

// SumSquares is the sum of the squares of x.
func SumSquares(x []float32) float64 {
	if len(x) == 0 {
		return 0
	}
	switch active {
	case AVX512:
		return sumSquares512(&x[0], len(x))
	case AVX2:
		return sumSquares256(&x[0], len(x))
	}
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

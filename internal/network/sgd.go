package network

// SGD is stochastic gradient descent with momentum and weight decay, in
// PyTorch's form: v = momentum*v + gradient + decay*w; w -= rate*v.
type SGD struct {
	LearningRate float64
	Momentum     float64 // 0 to below 1
	WeightDecay  float64 // of weights; biases do not decay
}

// step moves w against g, with v as the velocity. All have one length.
func (o SGD) step(w, g, v []float32, decays bool) {
	rate, momentum, decay := float32(o.LearningRate), float32(o.Momentum), float32(0)
	if decays {
		decay = float32(o.WeightDecay)
	}
	g, v = g[:len(w)], v[:len(w)]
	for i, x := range w {
		u := momentum*v[i] + g[i] + decay*x
		v[i] = u
		w[i] = x - rate*u
	}
}

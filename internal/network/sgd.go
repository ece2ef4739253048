package network

// SGD is stochastic gradient descent with momentum and weight decay, in
// PyTorch's form: v = momentum*v + gradient + decay*w; w -= rate*v.
type SGD struct {
	LearningRate float64
	Momentum     float64 // 0 to below 1
	WeightDecay  float64 // of weights; biases do not decay
	MaxNorm      float64 // longer gradients are cut to this length (Pascanu et al., 2013); 0 is no limit
}

// scale is what gradients of this length (2-norm over all tensors) are
// multiplied with.
func (o SGD) scale(norm float64) float32 {
	if o.MaxNorm <= 0 || norm <= o.MaxNorm {
		return 1
	}
	return float32(o.MaxNorm / norm)
}

// step moves w against scale*g, with v as the velocity. All have one length.
func (o SGD) step(w, g, v []float32, scale float32, decays bool) {
	rate, momentum, decay := float32(o.LearningRate), float32(o.Momentum), float32(0)
	if decays {
		decay = float32(o.WeightDecay)
	}
	g, v = g[:len(w)], v[:len(w)]
	for i, x := range w {
		u := momentum*v[i] + scale*g[i] + decay*x
		v[i] = u
		w[i] = x - rate*u
	}
}

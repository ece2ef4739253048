package network

// A network's head is its last layer, its features are what that layer sees.
// Training the head alone is training a linear network on the features.

// Features is how many values the last layer sees, of a spec that passed
// Validate: the width of the last hidden layer, the channels of the mean over
// an image, the inputs where there is nothing before it.
func (s Spec) Features() int {
	stages := s.Stages()
	return stages[len(stages)-1].In.Values()
}

// Head is the last layer as a network of its own.
func (s Spec) Head() Spec {
	return Spec{Architecture: s.Architecture, Input: Flat(s.Features()), Layers: s.Layers[len(s.Layers)-1:], Classes: s.Classes}
}

// Head returns the tensors of the last layer under the names of
// [Spec.Head]'s; the data is shared. w must have passed Check.
func (w Weights) Head(s Spec) Weights {
	layout := s.Head().Layout()
	out := make(Weights, len(layout))
	for i, t := range w[len(w)-len(layout):] {
		out[i] = Tensor{layout[i].Name, t.Shape, t.Data}
	}
	return out
}

// WithHead returns w with the last layer replaced by head, which is named as
// [Spec.Head]'s; all data is shared, so the other layers stay bit for bit.
func (w Weights) WithHead(head Weights) Weights {
	out := append(Weights(nil), w...)
	for i, t := range head {
		at := len(w) - len(head) + i
		out[at] = Tensor{w[at].Name, t.Shape, t.Data}
	}
	return out
}

// Features is [Forward.Features] once.
func Features(s Spec, w Weights, x, dst []float32) error {
	f, err := NewForward(s, w, nil)
	if err != nil {
		return err
	}
	return f.Features(x, dst)
}

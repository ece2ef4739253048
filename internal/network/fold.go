package network

import (
	"math"
	"slices"

	"driftgate/internal/kernel"
)

// newOps turns the layers of a network into what inference runs: dropout is
// gone, batch normalisation is part of the layer before it where that is linear,
// and so is pooling after a convolution.
func newOps(s Spec, w Weights) []op {
	var stages []Stage
	for _, st := range s.Stages() {
		if st.Kind != Dropout {
			stages = append(stages, st)
		}
	}
	var out []op
	for len(stages) > 0 {
		st := stages[0]
		stages = stages[1:]
		switch st.Kind {
		case MaxPool:
			out = append(out, &pooling{st.Window()})
		case MeanPool:
			out = append(out, &mean{st.In})
		case BatchNorm:
			scale, offset := normOf(st, w)
			out = append(out, &affine{st.In, narrow(scale), narrow(offset), st.ReLU})
		default:
			l := linearOf(st, w)
			for len(stages) > 0 && stages[0].Kind == BatchNorm && !l.relu {
				l.fold(normOf(stages[0], w))
				l.relu = stages[0].ReLU
				stages = stages[1:]
			}
			if l.product() {
				out = append(out, newProduct(l))
				continue
			}
			// Windows that overlap would see rows of the convolution twice.
			if len(stages) > 0 && stages[0].Kind == MaxPool && stages[0].Kernel <= stages[0].Stride {
				out = append(out, newSliding(l, stages[0].Window()))
				stages = stages[1:]
				continue
			}
			out = append(out, newSliding(l, kernel.Window{}))
		}
	}
	return out
}

// normOf is batch normalisation in inference as y = scale x + offset by channel:
// scale = weight / sqrt(variance + epsilon), offset = bias - scale mean.
func normOf(st Stage, w Weights) (scale, offset []float64) {
	weight, bias := w[st.Tensors[0]].Data, w[st.Tensors[1]].Data
	mean, variance := w[st.Tensors[2]].Data, w[st.Tensors[3]].Data
	scale, offset = make([]float64, len(weight)), make([]float64, len(weight))
	for c := range weight {
		scale[c] = float64(weight[c]) / math.Sqrt(float64(variance[c])+Epsilon)
		offset[c] = float64(bias[c]) - scale[c]*float64(mean[c])
	}
	return scale, offset
}

// linear is a dense, convolutional or depthwise layer on its way to an op. Its
// weights are as in files, a row for each unit.
type linear struct {
	Stage
	weights Tensor
	bias    []float32 // nil is none
	relu    bool
}

func linearOf(st Stage, w Weights) *linear {
	l := &linear{Stage: st, weights: w[st.Tensors[0]], relu: st.ReLU}
	if st.Bias {
		l.bias = slices.Clone(w[st.Tensors[1]].Data)
	}
	return l
}

// product reports whether the layer is a product of matrices: dense, or a
// convolution that sees one pixel at a time.
func (l *linear) product() bool {
	return l.Kind == Dense || l.Kind == Conv && l.Kernel == 1 && l.Stride == 1 && l.Padding == 0
}

// fold makes the layer answer scale y + offset for y. Both are computed in
// float64, so that a weight is rounded once.
func (l *linear) fold(scale, offset []float64) {
	folded := make([]float32, len(l.weights.Data))
	row := len(folded) / len(scale)
	for u, factor := range scale {
		for i, v := range l.weights.Data[u*row:][:row] {
			folded[u*row+i] = float32(float64(v) * factor)
		}
	}
	l.weights.Data = folded
	if l.bias == nil {
		l.bias = make([]float32, len(scale))
	}
	for u, v := range l.bias {
		l.bias[u] = float32(float64(v)*scale[u] + offset[u])
	}
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

func (l *linear) epilogue() kernel.Epilogue { return kernel.Epilogue{Bias: l.bias, ReLU: l.relu} }

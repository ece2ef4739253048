package network

import (
	"fmt"

	"driftgate/internal/onnx"
)

// How the values of a sample lie in a graph: ONNX's operators on images want
// the channels first, the pixels of the input and the weights of a dense layer
// have them last.
const (
	pixelsFirst   = iota // batch, height, width, channels
	channelsFirst        // batch, channels, height, width
	flattened            // batch, values
)

// onnxValue is a value of the graph.
type onnxValue struct {
	name string
	lies int
}

// stage adds a layer whose output is to be called name.
func (g onnxGraph) stage(st Stage, w Weights, name string, x onnxValue) onnxValue {
	if st.Kind == Dropout {
		return x // nothing, but in training
	}
	if st.Kind == Dense {
		x = g.flat(st, name, x)
	} else {
		x = g.channelsFirst(name, x)
	}
	inputs := []string{x.name}
	for _, i := range st.Tensors {
		inputs = append(inputs, g.Float32(w[i].Name, w[i].Data, w[i].Shape...))
	}
	out := name
	if st.ReLU {
		out += ".sum"
	}
	x.name = g.operator(st, out, inputs)
	if st.ReLU {
		x.name = g.Op("Relu", name, []string{x.name})
	}
	return x
}

// operator adds the one that a layer is, without its ReLU.
func (g onnxGraph) operator(st Stage, name string, inputs []string) string {
	window := []*onnx.AttributeProto{
		onnx.Ints("kernel_shape", st.Kernel, st.Kernel), onnx.Ints("strides", st.Stride, st.Stride),
		onnx.Ints("pads", st.Padding, st.Padding, st.Padding, st.Padding),
	}
	switch st.Kind {
	case Dense: // weights are [out, in], so Gemm transposes them
		return g.Op("Gemm", name, inputs, onnx.Int("transB", 1))
	case Conv:
		return g.Op("Conv", name, inputs, window...)
	case Depthwise:
		return g.Op("Conv", name, inputs, append(window, onnx.Int("group", st.In.Channels))...)
	case BatchNorm:
		return g.Op("BatchNormalization", name, inputs, onnx.Float("epsilon", Epsilon))
	case MaxPool:
		return g.Op("MaxPool", name, inputs, window...)
	case MeanPool:
		return g.Op("GlobalAveragePool", name, inputs)
	}
	panic(fmt.Sprintf("network: onnx: no operator for a %s layer", st.Kind)) // Validate knows the kinds
}

// channelsFirst brings an image into the form that operators on images want.
func (g onnxGraph) channelsFirst(before string, x onnxValue) onnxValue {
	if x.lies != pixelsFirst {
		return x
	}
	return onnxValue{g.Op("Transpose", before+".channels_first", []string{x.name}, onnx.Ints("perm", 0, 3, 1, 2)), channelsFirst}
}

// flat brings an image into the order of a dense layer's weights: height,
// width, channels.
func (g onnxGraph) flat(st Stage, before string, x onnxValue) onnxValue {
	if x.lies == flattened {
		return x
	}
	if x.lies == channelsFirst && st.In.Height*st.In.Width > 1 {
		x.name = g.Op("Transpose", before+".channels_last", []string{x.name}, onnx.Ints("perm", 0, 2, 3, 1))
	}
	return onnxValue{g.Op("Flatten", "flat", []string{x.name}, onnx.Int("axis", 1)), flattened}
}

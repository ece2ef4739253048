package onnx

import (
	"encoding/binary"
	"math"
)

// Graph is a network under construction. Values are known by their names: an
// operator's inputs must have been named before, its output must be new.
type Graph struct {
	g GraphProto
}

// Float32 adds a constant in row-major order and returns its name; no dims make
// it a scalar.
func (g *Graph) Float32(name string, data []float32, dims ...int) string {
	raw := make([]byte, 0, 4*len(data))
	for _, v := range data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	g.g.Initializer = append(g.g.Initializer, &TensorProto{Name: &name, DataType: new(int32(TensorProto_FLOAT)), Dims: wide(dims), RawData: raw})
	return name
}

// Op adds an operator with one output and returns the output's name, which is
// the operator's as well.
func (g *Graph) Op(op, name string, inputs []string, attributes ...*AttributeProto) string {
	g.g.Node = append(g.g.Node, &NodeProto{OpType: &op, Name: &name, Input: inputs, Output: []string{name}, Attribute: attributes})
	return name
}

// Int is an attribute.
func Int(name string, v int) *AttributeProto {
	return &AttributeProto{Name: &name, Type: AttributeProto_INT.Enum(), I: new(int64(v))}
}

// Ints is an attribute of several values.
func Ints(name string, v ...int) *AttributeProto {
	return &AttributeProto{Name: &name, Type: AttributeProto_INTS.Enum(), Ints: wide(v)}
}

// Float is an attribute.
func Float(name string, v float32) *AttributeProto {
	return &AttributeProto{Name: &name, Type: AttributeProto_FLOAT.Enum(), F: &v}
}

// Batch is the first dimension of every input and output: any number.
const Batch = "batch"

// Input declares an input of shape [batch, dims...].
func (g *Graph) Input(name, doc string, t TensorProto_DataType, dims ...int) string {
	g.g.Input = append(g.g.Input, value(name, doc, t, dims))
	return name
}

// Output declares a named value of shape [batch, dims...] as an output.
func (g *Graph) Output(name, doc string, t TensorProto_DataType, dims ...int) {
	g.g.Output = append(g.g.Output, value(name, doc, t, dims))
}

func value(name, doc string, t TensorProto_DataType, dims []int) *ValueInfoProto {
	shape := &TensorShapeProto{Dim: []*TensorShapeProto_Dimension{{Value: &TensorShapeProto_Dimension_DimParam{DimParam: Batch}}}}
	for _, d := range wide(dims) {
		shape.Dim = append(shape.Dim, &TensorShapeProto_Dimension{Value: &TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &ValueInfoProto{Name: &name, DocString: &doc, Type: &TypeProto{Value: &TypeProto_TensorType{
		TensorType: &TypeProto_Tensor{ElemType: new(int32(t)), Shape: shape}}}}
}

// Property is one entry of a model's metadata_props.
type Property struct{ Key, Value string }

// Model wraps the graph. Its properties keep their order.
func (g *Graph) Model(name, doc string, properties []Property) *ModelProto {
	g.g.Name = &name
	m := &ModelProto{
		IrVersion: new(int64(IRVersion)), ProducerName: new("driftgate"), DocString: &doc, Graph: &g.g,
		OpsetImport: []*OperatorSetIdProto{{Domain: new(""), Version: new(int64(Opset))}},
	}
	for _, p := range properties {
		m.MetadataProps = append(m.MetadataProps, &StringStringEntryProto{Key: &p.Key, Value: &p.Value})
	}
	return m
}

func wide(dims []int) []int64 {
	out := make([]int64, len(dims))
	for i, d := range dims {
		out[i] = int64(d)
	}
	return out
}

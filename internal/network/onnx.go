package network

import (
	"encoding/json"
	"fmt"
	"strconv"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/onnx"
)

// The names by which users of an ONNX model know its input and outputs, and
// the keys of its metadata_props.
const (
	onnxImage         = "image"
	onnxProbabilities = "probabilities"
	onnxLogits        = "logits"

	onnxModel         = "driftgate.model"
	onnxClasses       = "driftgate.classes"            // JSON list, in the order of the outputs
	onnxPreprocessing = "driftgate.preprocessing"      // JSON, as in the manifest
	onnxRecipe        = "driftgate.preprocessing.text" // the same in words
	onnxTemperature   = "driftgate.temperature"
)

// ONNX writes the artifact's network as an ONNX model: uint8 pixels of the
// manifest's size in (batch, height, width, channels), calibrated
// probabilities out. Scaling, normalisation, temperature and softmax are in the
// graph; what comes before (decoding, colours, resizing) is told in the
// metadata, in words and as JSON. The same artifact gives the same bytes.
// The error is [dg.ErrInvalid] when manifest and weights do not make a model.
func ONNX(a *Artifact) ([]byte, error) {
	m := a.Manifest
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := a.Weights.Check(m.Spec); err != nil {
		return nil, err
	}
	p := m.Preprocessing
	g := onnxGraph{&onnx.Graph{}}
	x := onnxValue{g.Input(onnxImage, recipe(p), onnx.TensorProto_UINT8, p.Height, p.Width, p.Channels), pixelsFirst}
	x.name = g.normalised(x.name, p)
	stages := m.Spec.Stages()
	for i, st := range stages {
		name := st.Name
		switch {
		case i == len(stages)-1:
			name = onnxLogits
		case name == "":
			name = fmt.Sprintf("%s.%d", st.Kind, i)
		}
		x = g.stage(st, a.Weights, name, x)
	}
	g.probabilities(x.name, m.Calibration.Temperature)
	g.Output(onnxProbabilities, "calibrated, in the order of "+onnxClasses, onnx.TensorProto_FLOAT, m.Spec.Classes)
	g.Output(onnxLogits, "before temperature and softmax", onnx.TensorProto_FLOAT, m.Spec.Classes)
	properties, err := onnxProperties(m)
	if err != nil {
		return nil, err
	}
	return onnx.Encode(g.Model(m.Model, "image classifier, written by driftgate; see metadata_props", properties))
}

// onnxGraph has one method for each part of a network: what maps a value to
// the next and returns its name.
type onnxGraph struct{ *onnx.Graph }

// normalised is [dataset.Preprocessing.Pixels], operation by operation.
func (g onnxGraph) normalised(x string, p dataset.Preprocessing) string {
	x = g.Op("Cast", "pixels", []string{x}, onnx.Int("to", int(onnx.TensorProto_FLOAT)))
	x = g.Op("Div", "scaled", []string{x, g.Float32("white", []float32{255})})
	x = g.Op("Sub", "centred", []string{x, g.Float32("mean", p.Mean, p.Channels)})
	return g.Op("Div", "normalised", []string{x, g.Float32("std", p.Std, p.Channels)})
}

// probabilities is [softmax].
func (g onnxGraph) probabilities(x string, temperature float64) {
	x = g.Op("Div", "calibrated", []string{x, g.Float32("temperature", []float32{float32(temperature)})})
	g.Op("Softmax", onnxProbabilities, []string{x}, onnx.Int("axis", -1))
}

func onnxProperties(m Manifest) ([]onnx.Property, error) {
	classes, err := json.Marshal(m.Classes)
	if err != nil {
		return nil, fmt.Errorf("network: onnx: classes: %w: %w", dg.ErrInvalid, err)
	}
	preprocessing, err := json.Marshal(m.Preprocessing)
	if err != nil {
		return nil, fmt.Errorf("network: onnx: preprocessing: %w: %w", dg.ErrInvalid, err)
	}
	return []onnx.Property{
		{Key: onnxModel, Value: m.Model},
		{Key: onnxClasses, Value: string(classes)},
		{Key: onnxPreprocessing, Value: string(preprocessing)},
		{Key: onnxRecipe, Value: recipe(m.Preprocessing)},
		{Key: onnxTemperature, Value: strconv.FormatFloat(m.Calibration.Temperature, 'g', -1, 64)},
	}, nil
}

// recipe says what to do with an image before it is the graph's input.
func recipe(p dataset.Preprocessing) string {
	colours := "RGB"
	if p.Channels == 1 {
		colours = "grey by the luma weights of ITU-R 601 (0.299, 0.587, 0.114)"
	}
	resize := "scaled to %[1]d x %[2]d pixels (width x height), each side on its own"
	if p.Resize == dataset.ResizeCrop {
		resize = "its largest centred part of the shape %[1]d x %[2]d (width x height) scaled to that size"
	}
	return fmt.Sprintf("the image upright (EXIF orientation applied), %[3]s, "+resize+" with an antialiased bilinear filter (Pillow's BILINEAR), "+
		"as uint8 values 0 to 255 in the order batch, height, width, channels; the graph itself divides by 255 and normalises", p.Width, p.Height, colours)
}

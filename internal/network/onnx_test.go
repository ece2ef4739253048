package network

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/onnx"
)

// value is a tensor of the interpreter below.
type value struct {
	dims []int
	data []float64
}

// interpret runs a graph by the operators' definitions (ONNX opset 13), in
// float64 and with no code of this package. It refuses what the definitions
// refuse: unknown operators and attributes, names that are not there yet or
// taken, shapes that do not fit.
func interpret(m *onnx.ModelProto, input value) (map[string]value, error) {
	if len(m.OpsetImport) != 1 || m.OpsetImport[0].GetVersion() != 13 || m.GetIrVersion() < 7 {
		return nil, fmt.Errorf("versions %v, IR %d", m.OpsetImport, m.GetIrVersion())
	}
	g := m.Graph
	known := map[string]value{g.Input[0].GetName(): input}
	define := func(name string, v value) error {
		if _, taken := known[name]; taken || name == "" {
			return fmt.Errorf("%q is taken or empty", name)
		}
		known[name] = v
		return nil
	}
	for _, t := range g.Initializer {
		v := value{data: make([]float64, len(t.RawData)/4)}
		n := 1
		for _, d := range t.Dims {
			v.dims = append(v.dims, int(d))
			n *= int(d)
		}
		if n != len(v.data) || t.GetDataType() != 1 {
			return nil, fmt.Errorf("%s %v has %d values of type %d", t.GetName(), t.Dims, len(v.data), t.GetDataType())
		}
		for i := range v.data {
			v.data[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(t.RawData[4*i:])))
		}
		if err := define(t.GetName(), v); err != nil {
			return nil, err
		}
	}
	for _, n := range g.Node {
		var in []value
		for _, name := range n.Input {
			v, ok := known[name]
			if !ok {
				return nil, fmt.Errorf("%s: %q is not there yet", n.GetName(), name)
			}
			in = append(in, v)
		}
		out, err := operate(n, in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", n.GetOpType(), n.GetName(), err)
		}
		if err := define(n.Output[0], out); err != nil {
			return nil, err
		}
	}
	return known, nil
}

func operate(n *onnx.NodeProto, in []value) (value, error) {
	attr, lists, epsilon := map[string]int64{}, map[string][]int64{}, 1e-5 // the definition's own
	for _, a := range n.Attribute {
		switch {
		case a.GetType() == onnx.AttributeProto_INT && a.I != nil:
			attr[a.GetName()] = a.GetI()
		case a.GetType() == onnx.AttributeProto_INTS && len(a.Ints) > 0:
			lists[a.GetName()] = a.Ints
		case a.GetType() == onnx.AttributeProto_FLOAT && a.GetName() == "epsilon":
			epsilon = float64(a.GetF())
		default:
			return value{}, fmt.Errorf("attribute %v", a)
		}
	}
	x := in[0]
	each := func(f func(a, b float64) float64) (value, error) {
		b := in[1]
		if len(b.dims) > 1 || len(b.dims) == 1 && b.dims[0] != x.dims[len(x.dims)-1] {
			return value{}, fmt.Errorf("%v does not broadcast over %v", b.dims, x.dims)
		}
		out := value{x.dims, make([]float64, len(x.data))}
		for i, v := range x.data {
			out.data[i] = f(v, b.data[i%len(b.data)])
		}
		return out, nil
	}
	switch n.GetOpType() {
	case "Cast":
		if attr["to"] != 1 {
			return value{}, fmt.Errorf("to %d", attr["to"])
		}
		return x, nil
	case "Div":
		return each(func(a, b float64) float64 { return a / b })
	case "Sub":
		return each(func(a, b float64) float64 { return a - b })
	case "Flatten":
		return value{[]int{x.dims[0], len(x.data) / x.dims[0]}, x.data}, nil
	case "Relu":
		out := value{x.dims, slices.Clone(x.data)}
		for i, v := range out.data {
			out.data[i] = max(0, v)
		}
		return out, nil
	case "Gemm":
		w, b := in[1], value{[]int{in[1].dims[0]}, make([]float64, in[1].dims[0])}
		if len(in) > 2 {
			b = in[2]
		}
		if len(x.dims) != 2 || attr["transB"] != 1 || x.dims[1] != w.dims[1] || b.dims[0] != w.dims[0] {
			return value{}, fmt.Errorf("%v times %v plus %v, transB %d", x.dims, w.dims, b.dims, attr["transB"])
		}
		rows, inner, cols := x.dims[0], w.dims[1], w.dims[0]
		out := value{[]int{rows, cols}, make([]float64, rows*cols)}
		for i := range rows {
			for j := range cols {
				sum := b.data[j]
				for k := range inner {
					sum += x.data[i*inner+k] * w.data[j*inner+k]
				}
				out.data[i*cols+j] = sum
			}
		}
		return out, nil
	case "Transpose":
		return transposed(x, lists["perm"])
	case "Conv":
		return convolved(in, attr["group"], lists)
	case "BatchNormalization":
		return normalised(in, epsilon)
	case "MaxPool", "GlobalAveragePool":
		return pooled(n.GetOpType(), x, lists)
	case "Softmax":
		if attr["axis"] != -1 {
			return value{}, fmt.Errorf("axis %d", attr["axis"])
		}
		out := value{x.dims, make([]float64, len(x.data))}
		for at, n := 0, x.dims[1]; at < len(x.data); at += n {
			var sum float64
			for _, v := range x.data[at:][:n] {
				sum += math.Exp(v)
			}
			for i, v := range x.data[at:][:n] {
				out.data[at+i] = math.Exp(v) / sum
			}
		}
		return out, nil
	}
	return value{}, fmt.Errorf("not part of what is written")
}

// photos makes an artifact for small colour images.
func photos(t testing.TB) *Artifact {
	t.Helper()
	a := artifact(t, 6)
	p := dataset.PhotoPreprocessing(8)
	a.Manifest.Preprocessing, a.Manifest.Classes = p, dg.Food11
	a.Manifest.Spec = MLP(Size{p.Height, p.Width, p.Channels}, []int{6, 5}, len(dg.Food11))
	a.Weights = NewWeights(a.Manifest.Spec, rand.New(rand.NewPCG(5, 6)))
	px := make([]byte, p.Size())
	for i := range px {
		px[i] = byte(i * 37)
	}
	if err := a.RecordSelfTest([][]byte{px}); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTheONNXGraphGivesTheClassifiersProbabilities(t *testing.T) {
	models := map[string]*Artifact{"photos": photos(t)}
	for name, s := range families() {
		models[name] = artifactOf(t, s)
	}
	for name, a := range models {
		t.Run(name, func(t *testing.T) {
			m := decoded(t, a)
			const batch = 3
			p, classes := a.Manifest.Preprocessing, a.Manifest.Spec.Classes
			rng := rand.New(rand.NewPCG(7, 8))
			in := value{[]int{batch, p.Height, p.Width, p.Channels}, make([]float64, batch*p.Size())}
			px := make([]byte, batch*p.Size())
			for i := range px {
				px[i] = byte(rng.Uint32())
				in.data[i] = float64(px[i])
			}
			known, err := interpret(m, in)
			if err != nil {
				t.Fatal(err)
			}
			c := classifier(t, a)
			for row := range batch {
				want, err := c.Pixels(px[row*p.Size():][:p.Size()])
				if err != nil {
					t.Fatal(err)
				}
				for k := range want {
					if got := known["probabilities"].data[row*classes+k]; math.Abs(got-float64(want[k])) > 1e-5 {
						t.Errorf("row %d, class %d: %v, want %v", row, k, got, want[k])
					}
				}
			}
		})
	}
}

func decoded(t *testing.T, a *Artifact) *onnx.ModelProto {
	t.Helper()
	graph, err := ONNX(a)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Decode(graph)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTheONNXModelTellsWhatAnotherServerMustKnow(t *testing.T) {
	a := photos(t)
	m := decoded(t, a)
	told := map[string]string{}
	for _, p := range m.MetadataProps {
		told[p.GetKey()] = p.GetValue()
	}
	var p dataset.Preprocessing
	if err := json.Unmarshal([]byte(told["driftgate.preprocessing"]), &p); err != nil || fmt.Sprint(p) != fmt.Sprint(a.Manifest.Preprocessing) {
		t.Errorf("preprocessing %q, %v", told["driftgate.preprocessing"], err)
	}
	var classes dg.Classes
	if err := json.Unmarshal([]byte(told["driftgate.classes"]), &classes); err != nil || !slices.Equal(classes, dg.Food11) {
		t.Errorf("classes %q, %v", told["driftgate.classes"], err)
	}
	if got := told["driftgate.preprocessing.text"]; !strings.Contains(got, "centred part of the shape 8 x 8") || !strings.Contains(got, "RGB") {
		t.Errorf("in words: %q", got)
	}
	if told["driftgate.temperature"] != "1.3" || told["driftgate.model"] != "garments" {
		t.Errorf("told %v", told)
	}
	in := m.Graph.Input[0]
	shape := in.Type.GetTensorType().GetShape().GetDim()
	if in.GetName() != "image" || in.Type.GetTensorType().GetElemType() != 2 || len(shape) != 4 || shape[0].GetDimParam() != "batch" ||
		shape[1].GetDimValue() != 8 || shape[3].GetDimValue() != 3 {
		t.Errorf("input %v", in)
	}
	if out := m.Graph.Output; len(out) != 2 || out[0].GetName() != "probabilities" || out[1].GetName() != "logits" {
		t.Errorf("outputs %v", out)
	}
	a.Weights[1].Data = a.Weights[1].Data[1:]
	if _, err := ONNX(a); err == nil {
		t.Error("weights that do not fit make a graph")
	}
}

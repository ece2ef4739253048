package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

var garment = Size{28, 28, 1}

// families are networks of every kind of layer, small enough to compute by hand.
func families() map[string]Spec {
	return map[string]Spec{
		"linear":               MLP(garment, nil, 10),
		"mlp":                  MLP(garment, []int{9, 7}, 10),
		"cnn":                  CNN(Size{12, 10, 3}, CNNOptions{Filters: []int{5, 6}, Dense: []int{8}}, 4),
		"cnn with all options": CNN(Size{12, 13, 1}, CNNOptions{Filters: []int{5, 6}, Convs: 2, Dense: []int{8, 7}, BatchNorm: true, Dropout: 0.3}, 3),
		"cnn without hidden":   CNN(Size{9, 9, 1}, CNNOptions{Filters: []int{3}, Dense: []int{}}, 2),
		"mobilenet":            MobileNet(Size{16, 16, 3}, 0.25, 5),
		"mobilenet, strides":   MobileNet(Size{64, 48, 3}, 0.1, 3),
		"every kind":           everyKind(),
	}
}

// everyKind has what no builder writes: odd windows, paddings, layers without
// bias, batch normalisation of the input, after a dense layer and without ReLU.
func everyKind() Spec {
	return Spec{Architecture: "own_2", Input: Size{11, 9, 3}, Classes: 3, Layers: []Layer{
		{Kind: BatchNorm},
		{Kind: Conv, Units: 5, Kernel: 5, Stride: 2, Padding: 3, ReLU: true},
		{Kind: Dropout, Rate: 0.1},
		{Kind: Depthwise, Kernel: 2, Stride: 1, Padding: 1, Bias: true},
		{Kind: MaxPool, Kernel: 3, Stride: 2},
		{Kind: Depthwise, Kernel: 3, Stride: 2, Padding: 2, ReLU: true},
		{Kind: BatchNorm, ReLU: true},
		{Kind: Conv, Units: 4, Kernel: 1, Stride: 1, Bias: true},
		{Kind: Dense, Units: 6},
		{Kind: BatchNorm, ReLU: true},
		{Kind: Dense, Units: 5, ReLU: true},
		{Kind: Dropout, Rate: 0.5},
		{Kind: Dense, Units: 3},
	}}
}

func TestTheBuildersNetworksAreValidAndAsPublished(t *testing.T) {
	for name, s := range families() {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range []struct {
		s          Spec
		parameters int
		what       string
	}{
		{MLP(garment, []int{512, 512}, 10), 784*512 + 512 + 512*512 + 512 + 512*10 + 10, "by hand"},
		{CNN(garment, CNNOptions{}, 10), 9*32 + 32 + 9*32*64 + 64 + 7*7*64*128 + 128 + 1290, "by hand"},
		{MobileNet(Size{224, 224, 3}, 1, 1000), 4_253_864, "of MobileNet 1.0 in Keras, 21,888 running moments included"},
	} {
		if got := tt.s.Parameters(); got != tt.parameters {
			t.Errorf("%v has %d weights, want the %d %s", tt.s, got, tt.parameters, tt.what)
		}
	}
	// Howard et al. (2017), tables 6 and 7: millions of multiplications and
	// additions, without those of the normalisation.
	for _, tt := range []struct {
		side  int
		width float64
		want  float64
	}{{224, 1, 569}, {192, 1, 418}, {160, 1, 290}, {128, 1, 186}, {224, 0.5, 149}} {
		s, sum := MobileNet(Size{tt.side, tt.side, 3}, tt.width, 1000), 0
		for _, st := range s.Stages() {
			if st.Kind != BatchNorm {
				sum += st.work(st.In)
			}
		}
		if got := float64(sum) / 1e6; got < 0.99*tt.want || got > 1.01*tt.want {
			t.Errorf("MobileNet %g at %d pixels: %.1f million operations, the paper has %g", tt.width, tt.side, got, tt.want)
		}
	}
}

func TestMobileNetHalvesSmallImagesLess(t *testing.T) {
	for side, want := range map[int]int{8: 2, 16: 2, 28: 2, 32: 2, 33: 2, 48: 2, 64: 2, 96: 3, 128: 4, 160: 5, 192: 6, 224: 7} {
		s := MobileNet(Size{side, side, 3}, 0.5, 11)
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		for _, st := range s.Stages() {
			if st.Kind == Conv && st.Units%16 != 0 {
				t.Errorf("%d pixels: %v: want a multiple of 16 filters", side, st.Layer)
			}
			if st.Kind == MeanPool && st.In.Height != want {
				t.Errorf("%d pixels: the mean is over %v, want %d pixels a side", side, st.In, want)
			}
		}
	}
}

func TestStagesFollowTheSizes(t *testing.T) {
	var got []string
	s := everyKind()
	layout := s.Layout()
	for _, st := range s.Stages() {
		line := fmt.Sprintf("%s %v>%v", st.Kind, st.In, st.Out)
		for _, i := range st.Tensors {
			line += " " + layout[i].Name
		}
		got = append(got, line)
	}
	want := []string{
		"batchnorm 11x9x3>11x9x3 layers.0.weight layers.0.bias layers.0.running_mean layers.0.running_var",
		"conv 11x9x3>7x6x5 layers.1.weight",
		"dropout 7x6x5>7x6x5",
		"depthwise 7x6x5>8x7x5 layers.2.weight layers.2.bias",
		"maxpool 8x7x5>3x3x5",
		"depthwise 3x3x5>3x3x5 layers.3.weight",
		"batchnorm 3x3x5>3x3x5 layers.4.weight layers.4.bias layers.4.running_mean layers.4.running_var",
		"conv 3x3x5>3x3x4 layers.5.weight layers.5.bias",
		"dense 3x3x4>1x1x6 layers.6.weight",
		"batchnorm 1x1x6>1x1x6 layers.7.weight layers.7.bias layers.7.running_mean layers.7.running_var",
		"dense 1x1x6>1x1x5 layers.8.weight",
		"dropout 1x1x5>1x1x5",
		"dense 1x1x5>1x1x3 layers.9.weight",
	}
	if !slices.Equal(got, want) {
		t.Errorf("stages\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	learned := s.Learned()
	if len(layout) != 21 || len(learned) != 15 || slices.ContainsFunc(learned, func(t Shape) bool { return strings.Contains(t.Name, "running") }) {
		t.Errorf("%d tensors, learned are %v", len(layout), learned)
	}
}

func TestSpecReportsEveryFault(t *testing.T) {
	err := Spec{Architecture: "x y", Classes: 1, Layers: []Layer{{Kind: Dense, Units: -1}, {Kind: "pooh"}}}.Validate()
	for _, want := range []string{"architecture", "input 0x0x0", "layers[0]", "layers[1]", "classes 1"} {
		if err == nil || !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
}

func TestAMisfitIsRefusedWithItsPlaceAndWhatWouldBeRight(t *testing.T) {
	with := func(in Size, layers ...Layer) Spec {
		return Spec{Architecture: "cnn", Input: in, Layers: append(layers, Layer{Kind: Dense, Units: 10, Bias: true}), Classes: 10}
	}
	conv := func(units, kernel, stride, padding int) Layer {
		return Layer{Kind: Conv, Units: units, Kernel: kernel, Stride: stride, Padding: padding}
	}
	pool := Layer{Kind: MaxPool, Kernel: 2, Stride: 2}
	for _, tt := range []struct {
		name, want string
		s          Spec
	}{
		{"nothing", "0 layers: want 1 to 128", Spec{Architecture: "mlp", Input: garment, Classes: 10}},
		{"a pool larger than its input", "layers[3] pool 2 on 1x1x5: the window is larger than its input: want a kernel of at most 1", with(Size{6, 6, 1}, conv(5, 3, 1, 1), pool, pool, pool)},
		{"a convolution larger than its input", "layers[0] conv 5x5x5 on 2x9x1: the window is larger than its input: want a kernel of at most 4", with(Size{2, 9, 1}, conv(5, 5, 1, 1))},
		{"no dense layer at the end", "layers[1] is pool 2: want the last to be dense", Spec{"cnn", garment, []Layer{conv(5, 3, 1, 1), pool}, 10}},
		{"a ReLU at the end", "want the last to be dense, without relu", Spec{"mlp", garment, []Layer{{Kind: Dense, Units: 10, ReLU: true}}, 10}},
		{"as many units as classes", "layers[0] is dense 9: want the last to be dense, without relu, with a unit for each of 10 classes", Spec{"mlp", garment, []Layer{{Kind: Dense, Units: 9}}, 10}},
		{"an image after a dense layer", "layers[1] pool 2 on 1x1x9: there is no image after a dense layer", with(garment, Layer{Kind: Dense, Units: 9}, pool)},
		{"an unknown kind", `layers[0] lstm: kind "lstm": want dense, conv,`, with(garment, Layer{Kind: "lstm"})},
		{"fields of another kind", "layers[0] maxpool: units 3: a maxpool layer has none\npadding 1: a maxpool layer has none\nbias: a maxpool layer has none\nrelu: a maxpool layer has none", with(garment, Layer{Kind: MaxPool, Kernel: 2, Stride: 2, Units: 3, Padding: 1, Bias: true, ReLU: true})},
		{"no stride", "layers[0] conv: stride 0: want 1 to 31", with(garment, conv(3, 3, 0, 0))},
		{"padding as wide as the window", "padding 3: want 0 to 2", with(garment, conv(3, 3, 1, 3))},
		{"all dropped", "rate 1: want above 0 and below 1", with(garment, Layer{Kind: Dropout, Rate: 1})},
		{"a rate elsewhere", "rate 0.5: want above 0 and below 1 of a dropout layer, none of others", with(garment, Layer{Kind: BatchNorm, Rate: 0.5})},
		{"too many layers", "129 layers: want 1 to 128", with(garment, make([]Layer, 128)...)},
		{"a huge image", "input 5000x1x1: want 1 to 4096 pixels a side", with(Size{5000, 1, 1})},
		{"an image of too many values", "input 4096x4096x8 has 134217728 values: want at most 67108864", with(Size{4096, 4096, 8})},
		{"a terabyte of weights", "weights up to here: want at most 67108864", MLP(Flat(1<<20), []int{1 << 20}, 10)},
		{"a terabyte between the layers", "values between the layers up to here, 2060 MiB a sample: want at most 256 MiB", with(Size{1024, 1024, 3}, conv(512, 3, 1, 1))},
		{"gigabytes of padding", "values with the padding: want at most 67108864", with(Size{1, 1024, 3}, conv(60000, 1, 1, 0), Layer{Kind: Depthwise, Kernel: 31, Stride: 31, Padding: 30}, Layer{Kind: MeanPool})},
		{"weights that are mostly padding", "that have to be laid out for so few units in", with(Size{1024, 1024, 3}, conv(15, 1, 1, 0), Layer{Kind: Dense, Units: 1})},
		{"hours a sample", "operations a sample up to here: want at most", with(Size{128, 128, 64}, conv(64, 31, 1, 15))},
	} {
		err := tt.s.Validate()
		if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: error %v\nwant ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
}

func TestASpecSurvivesJSON(t *testing.T) {
	for name, s := range families() {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got Spec
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: %s reads as %v, %v", name, b, got, err)
		}
	}
	b, err := json.Marshal(CNN(garment, CNNOptions{Filters: []int{32}, Dense: []int{}}, 10))
	want := `{"architecture":"cnn","input":{"height":28,"width":28,"channels":1},"layers":[` +
		`{"kind":"conv","units":32,"kernel":3,"stride":1,"padding":1,"bias":true,"relu":true},{"kind":"maxpool","kernel":2,"stride":2},` +
		`{"kind":"dense","units":10,"bias":true}],"classes":10}`
	if err != nil || string(b) != want {
		t.Errorf("written as %s, %v", b, err)
	}
}

func TestTheOldFormOfASpecIsAnMLP(t *testing.T) {
	for in, want := range map[string]Spec{
		`{"architecture":"mlp","inputs":784,"hidden":[128,64],"classes":10}`: MLP(Flat(784), []int{128, 64}, 10),
		`{"architecture":"mlp","inputs":784,"hidden":[],"classes":10}`:       MLP(Flat(784), nil, 10),
		`{"architecture":"mlp","inputs":784,"hidden":null,"classes":10}`:     MLP(Flat(784), nil, 10),
	} {
		var s Spec
		if err := json.Unmarshal([]byte(in), &s); err != nil || !reflect.DeepEqual(s, want) || s.Validate() != nil {
			t.Errorf("%s reads as %v, %v", in, s, err)
		}
	}
	for in, want := range map[string]string{
		`{"architecture":"cnn","inputs":784,"hidden":[],"classes":10}`:            `architecture "cnn" with inputs and hidden: want "mlp"`,
		`{"architecture":"mlp","inputs":784,"layers":[],"classes":10}`:            `unknown field "layers"`,
		`{"architecture":"mlp","input":{"height":1,"depth":2}}`:                   `unknown field "depth"`,
		`{"architecture":"mlp","layers":[{"kind":"dense","units":3,"groups":2}]}`: `unknown field "groups"`,
		`{"architecture":"mlp","hidden":[3]}`:                                     `unknown field "hidden"`,
		`[1]`:                                                                     "cannot unmarshal",
	} {
		var s Spec
		if err := json.Unmarshal([]byte(in), &s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", in, err, want)
		}
	}
}

func TestANetworkTakesTheWeightsOfOneThatComputesTheSame(t *testing.T) {
	cnn := CNN(garment, CNNOptions{}, 10)
	if empty := CNN(garment, CNNOptions{Filters: []int{}}, 10); !reflect.DeepEqual(empty, cnn) {
		t.Errorf("no filters gave %v, want the usual %v", empty, cnn)
	}
	dropping := CNN(garment, CNNOptions{Dropout: 0.5}, 10)
	for _, tt := range []struct {
		name string
		a, b Spec
		want bool
	}{
		{"itself", cnn, cnn, true},
		{"an MLP of the old form", MLP(garment, []int{9}, 10), MLP(Flat(784), []int{9}, 10), true},
		{"dropout", cnn, dropping, true},
		{"other filters", cnn, CNN(garment, CNNOptions{Filters: []int{32, 65}}, 10), false},
		{"other classes", MLP(garment, nil, 10), MLP(garment, nil, 11), false},
		{"other inputs", MLP(garment, nil, 10), MLP(Flat(785), nil, 10), false},
		{"an image of another shape", MobileNet(Size{32, 16, 3}, 1, 10), MobileNet(Size{16, 32, 3}, 1, 10), false},
		{"an image before and after", dropping, CNN(Size{14, 56, 1}, CNNOptions{}, 10), false},
		{"nothing", Spec{}, Spec{}, true},
	} {
		if got, back := tt.a.Takes(tt.b), tt.b.Takes(tt.a); got != tt.want || back != tt.want {
			t.Errorf("%s: %v, and the other way %v, want %v", tt.name, got, back, tt.want)
		}
	}
}

func TestASpecReadsAsALine(t *testing.T) {
	for want, s := range map[string]Spec{
		"cnn: conv 3x3x32, pool 2, conv 3x3x64, pool 2, dense 128, dense 10; 421,642 weights": CNN(garment, CNNOptions{}, 10),
		"mlp: dense 10; 7,850 weights": MLP(garment, nil, 10),
		"mlp: dense 2; 4 weights":      MLP(Flat(1), nil, 2),
		"own_2: batchnorm, conv 5x5x5 stride 2, dropout 0.1, depthwise 2x2, pool 3 stride 2, depthwise 3x3 stride 2 norm, " +
			"conv 1x1x4, dense 6 norm, dense 5, dropout 0.5, dense 3; 786 weights": everyKind(),
		"mobilenet: conv 3x3x32 stride 2 norm, separable 3x3x64 norm, separable 3x3x128 stride 2 norm, separable 3x3x128 norm, " +
			"separable 3x3x256 stride 2 norm, separable 3x3x256 norm, separable 3x3x512 stride 2 norm, 5 x separable 3x3x512 norm, " +
			"separable 3x3x1024 stride 2 norm, separable 3x3x1024 norm, meanpool, dense 1000; 4,253,864 weights": MobileNet(Size{224, 224, 3}, 1, 1000),
		"mlp":          {Architecture: "mlp"},
		"mlp: dense 0": {Architecture: "mlp", Layers: []Layer{{Kind: Dense}}},
	} {
		if got := s.String(); got != want {
			t.Errorf("reads %q\nwant  %q", got, want)
		}
	}
}

func FuzzSpecJSON(f *testing.F) {
	for _, s := range families() {
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"architecture":"mlp","inputs":784,"hidden":[128,64],"classes":10}`))
	f.Add([]byte(`{"architecture":"cnn","input":{"height":4096,"width":4096,"channels":1048576},"layers":[{"kind":"conv","units":1048576,"kernel":31,"stride":1,"padding":30},{"kind":"dense","units":2}],"classes":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Spec
		if json.Unmarshal(b, &s) != nil {
			return
		}
		_ = s.String() // of whatever could be read
		if err := s.Validate(); err != nil {
			if !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := json.Marshal(s)
		var back Spec
		if err != nil || json.Unmarshal(again, &back) != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("%v is read back as %v, %v", s, back, err)
		}
		size := s.Input
		for i, st := range s.Stages() {
			if st.In != size || st.Out.Values() < 1 {
				t.Fatalf("stage %d takes %v and gives %v, the one before gave %v", i, st.In, st.Out, size)
			}
			size = st.Out
		}
		if size != Flat(s.Classes) || s.Parameters() > maxParams || s.Values() > maxValues || s.Work() > maxWork {
			t.Fatalf("%v: %d weights, %d values, %d operations, gives %v", s, s.Parameters(), s.Values(), s.Work(), size)
		}
		if s.Parameters() < 1<<16 {
			if err := NewWeights(s, rand.New(rand.NewPCG(1, 1))).Check(s); err != nil {
				t.Fatalf("%v: its own weights do not fit: %v", s, err)
			}
		}
		if err := s.Head().Validate(); err != nil || s.Head().Inputs() != s.Features() {
			t.Fatalf("%v: its head is %v, %v", s, s.Head(), err)
		}
	})
}

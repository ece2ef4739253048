//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// What reads the models, from PyPI.
var onnxPackages = []string{"onnxruntime==1.31.1", "onnx==1.23.2", "pillow==12.3.0"}

// onnxScript checks each model with ONNX's own checker, then answers a batch
// of raw pixels, and one picture file prepared by the words of the metadata:
// upright, colours, centred part, size. It knows nothing else of driftgate.
const onnxScript = `
import json, sys
import numpy, onnx, onnxruntime
from PIL import Image, ImageOps

answers = []
for case in json.load(sys.stdin):
    model = onnx.load(case["model"])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(case["model"], providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    rule = json.loads(told["driftgate.preprocessing"])
    w, h, channels = rule["width"], rule["height"], rule["channels"]
    pixels = numpy.fromfile(case["pixels"], dtype=numpy.uint8).reshape(-1, h, w, channels)
    (batch,) = session.run(["probabilities"], {"image": pixels})
    single = numpy.concatenate([session.run(["probabilities"], {"image": p[None]})[0] for p in pixels[:3]])

    picture = ImageOps.exif_transpose(Image.open(case["picture"])).convert("L" if channels == 1 else "RGB")
    if rule["resize"] == "crop":
        dx, dy = picture.size
        if dx * h > dy * w:
            keep = max(1, (dy * w + h // 2) // h)
            picture = picture.crop(((dx - keep) // 2, 0, (dx - keep) // 2 + keep, dy))
        else:
            keep = max(1, (dx * h + w // 2) // w)
            picture = picture.crop((0, (dy - keep) // 2, dx, (dy - keep) // 2 + keep))
    picture = picture.resize((w, h), Image.BILINEAR)
    (shown,) = session.run(["probabilities"], {"image": numpy.asarray(picture, dtype=numpy.uint8).reshape(1, h, w, channels)})
    answers.append({"batch": batch.tolist(), "single": single.tolist(), "picture": shown[0].tolist(),
                    "classes": json.loads(told["driftgate.classes"])})
json.dump(answers, sys.stdout)
`

// everyArchitecture are models of all families and of every kind of layer, with
// moments as after training. They differ in nothing but in their networks.
func everyArchitecture(t *testing.T) []*network.Artifact {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	garment, photo := dataset.GarmentPreprocessing(), dataset.PhotoPreprocessing(32)
	grey, colour := network.Size{Height: 28, Width: 28, Channels: 1}, network.Size{Height: 32, Width: 32, Channels: 3}
	large := network.Size{Height: 96, Width: 96, Channels: 3}
	var out []*network.Artifact
	for _, tt := range []struct {
		p    dataset.Preprocessing
		spec network.Spec
	}{
		{garment, network.MLP(grey, []int{128, 64}, 10)},
		{garment, network.MLP(grey, []int{512, 512}, 10)},
		{garment, network.MLP(grey, nil, 10)},
		{photo, network.MLP(colour, []int{64}, 11)},
		{garment, network.CNN(grey, network.CNNOptions{}, 10)},
		{garment, network.CNN(grey, network.CNNOptions{Filters: []int{24, 40, 56}, Convs: 2, Dense: []int{96, 48}, BatchNorm: true, Dropout: 0.3}, 10)},
		{photo, network.CNN(colour, network.CNNOptions{Filters: []int{17}, Dense: []int{}}, 11)},
		{photo, network.MobileNet(colour, 0.5, 11)},
		{dataset.PhotoPreprocessing(96), network.MobileNet(large, 1, 11)},
		{photo, network.Spec{Architecture: "odd", Input: colour, Classes: 11, Layers: []network.Layer{
			{Kind: network.BatchNorm},
			{Kind: network.Conv, Units: 5, Kernel: 5, Stride: 2, Padding: 3, ReLU: true},
			{Kind: network.Depthwise, Kernel: 2, Stride: 1, Padding: 1, Bias: true},
			{Kind: network.MaxPool, Kernel: 3, Stride: 2},
			{Kind: network.Dense, Units: 16},
			{Kind: network.BatchNorm, ReLU: true},
			{Kind: network.Dense, Units: 11},
		}}},
	} {
		classes := dg.FashionMNIST
		if tt.spec.Classes == len(dg.Food11) {
			classes = dg.Food11
		}
		// A low temperature makes confident answers, where errors would show.
		a := &network.Artifact{Weights: network.NewWeights(tt.spec, rng), Manifest: network.Manifest{Model: "garments", Spec: tt.spec,
			Classes: classes, Preprocessing: tt.p, Calibration: network.Calibration{Temperature: 0.4}}}
		for _, w := range a.Weights {
			for k := range w.Data {
				switch {
				case strings.HasSuffix(w.Name, ".running_var"):
					w.Data[k] = 0.5 + rng.Float32()
				case len(w.Shape) == 1:
					w.Data[k] += 0.3 * float32(rng.NormFloat64())
				}
			}
		}
		px := make([]byte, tt.p.Size())
		for k := range px {
			px[k] = byte(rng.Uint32())
		}
		if err := a.RecordSelfTest([][]byte{px}); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

type onnxCase struct {
	Model   string `json:"model"`
	Pixels  string `json:"pixels"`
	Picture string `json:"picture"`
}

func TestONNXRuntimeGivesOurProbabilities(t *testing.T) {
	const batch, tolerance = 64, 1e-4
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	var cases []onnxCase
	var models []*network.Classifier
	var pixels [][]byte
	picture := filepath.Join(dir, "picture.png")
	shown := drawPicture(t, picture)
	for i, a := range everyArchitecture(t) {
		px := make([]byte, batch*a.Manifest.Preprocessing.Size())
		for k := range px {
			px[k] = byte(rng.Uint32())
		}
		files, err := a.Files()
		if err != nil {
			t.Fatal(err)
		}
		c, err := network.NewClassifier(a)
		if err != nil {
			t.Fatal(err)
		}
		one := onnxCase{filepath.Join(dir, fmt.Sprintf("%d.onnx", i)), filepath.Join(dir, fmt.Sprintf("%d.raw", i)), picture}
		if err := os.WriteFile(one.Model, files[network.ONNXFile], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(one.Pixels, px, 0o600); err != nil {
			t.Fatal(err)
		}
		cases, models, pixels = append(cases, one), append(models, c), append(pixels, px)
	}
	type answer struct {
		Batch, Single [][]float64
		Picture       []float64
		Classes       dg.Classes
	}
	var answers []answer
	runONNX(t, cases, &answers)
	worst, sure := 0.0, 0.0
	compare := func(what string, got []float64, want []float32) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d probabilities, want %d", what, len(got), len(want))
		}
		for k := range want {
			d := math.Abs(got[k] - float64(want[k]))
			worst, sure = max(worst, d), max(sure, got[k])
			if !(d <= tolerance) {
				t.Errorf("%s: class %d has %v in onnxruntime, %v here", what, k, got[k], want[k])
			}
		}
	}
	for i, a := range answers {
		before := worst
		worst = 0
		size := models[i].Manifest().Preprocessing.Size()
		for row := range batch {
			want, err := models[i].Pixels(pixels[i][row*size:][:size])
			if err != nil {
				t.Fatal(err)
			}
			compare(fmt.Sprintf("model %d, row %d", i, row), a.Batch[row], want)
			if row < len(a.Single) {
				compare(fmt.Sprintf("model %d, row %d alone", i, row), a.Single[row], want)
			}
		}
		want, err := models[i].Predict(shown)
		if err != nil {
			t.Fatal(err)
		}
		compare(fmt.Sprintf("model %d, the picture", i), a.Picture, want)
		if fmt.Sprint(a.Classes) != fmt.Sprint(models[i].Manifest().Classes) {
			t.Errorf("model %d tells classes %v", i, a.Classes)
		}
		t.Logf("%v: largest difference of a probability %.3g", models[i].Manifest().Spec, worst)
		worst = max(worst, before)
	}
	if len(answers) != len(cases) || sure < 0.5 {
		t.Errorf("%d of %d models answered, the surest with %.2f", len(answers), len(cases), sure)
	}
	t.Logf("%d models, %d rows each: largest difference of a probability %.3g", len(answers), batch, worst)
}

func runONNX(t *testing.T, cases []onnxCase, answers any) {
	t.Helper()
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python(t, onnxPackages...), "-c", onnxScript)
	cmd.Stdin = strings.NewReader(string(in))
	out, err := cmd.Output()
	if err != nil {
		text := ""
		if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output wraps nothing
			text = string(e.Stderr)
		}
		t.Fatalf("onnxruntime: %v\n%s", err, text)
	}
	if err := json.Unmarshal(out, answers); err != nil {
		t.Fatalf("%v in %.300s", err, out)
	}
}

// drawPicture writes a colour picture of no model's shape, and returns it.
func drawPicture(t *testing.T, path string) image.Image {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 97, 61))
	for y := range 61 {
		for x := range 97 {
			img.SetNRGBA(x, y, color.NRGBA{byte(x*5 + y), byte(255 - 3*y), byte(x * y / 7), 255})
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, img); err != nil {
		t.Fatal(err)
	}
	return img
}

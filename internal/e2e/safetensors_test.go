//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"driftgate/internal/network"
)

// What reads and writes weights.safetensors, from PyPI: the format's own
// library.
var safetensorsPackages = []string{"safetensors==0.8.0", "numpy==2.4.6"}

// safetensorsScript reads weights with the format's own library, writes them
// anew with it, and computes the network from the two files as docs/models.md
// describes them, in float64. It knows nothing else of driftgate.
const safetensorsScript = `
import base64, json, sys
import numpy
from numpy.lib.stride_tricks import sliding_window_view
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

def windows(x, l):
    p = l.get("padding", 0)
    x = numpy.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    return sliding_window_view(x, (l["kernel"], l["kernel"]), axis=(1, 2))[:, ::l["stride"], ::l["stride"]]

def network(manifest, tensors, pixels):
    rule = manifest["preprocessing"]
    x = (pixels / 255.0 - numpy.array(rule["mean"])) / numpy.array(rule["std"])
    number = 0
    for l in manifest["spec"]["layers"]:
        kind, name = l["kind"], "layers.%d." % number
        if kind in ("dense", "conv", "depthwise", "batchnorm"):
            number += 1
            w = tensors[name + "weight"].astype(numpy.float64)
        if kind == "dense":
            x = x.reshape(len(x), -1) @ w.T
        elif kind == "conv":
            x = numpy.einsum("nyxcij,ocij->nyxo", windows(x, l), w, optimize=True)
        elif kind == "depthwise":
            x = numpy.einsum("nyxcij,cij->nyxc", windows(x, l), w[:, 0], optimize=True)
        elif kind == "batchnorm":
            x = (x - tensors[name + "running_mean"]) / numpy.sqrt(tensors[name + "running_var"] + 1e-5) * w + tensors[name + "bias"]
        elif kind == "maxpool":
            x = windows(x, l).max(axis=(-2, -1))
        elif kind == "meanpool":
            x = x.mean(axis=(1, 2))
        if l.get("bias"):
            x = x + tensors[name + "bias"]
        if l.get("relu"):
            x = numpy.maximum(x, 0)
    x = numpy.exp((x - x.max(axis=1, keepdims=True)) / manifest["calibration"]["temperature"])
    return x / x.sum(axis=1, keepdims=True)

answers = []
for dir in json.load(sys.stdin):
    tensors = load_file(dir + "/weights.safetensors")
    with safe_open(dir + "/weights.safetensors", framework="numpy") as f:
        metadata = f.metadata()
    save_file(tensors, dir + "/written.safetensors", metadata=metadata)
    manifest = json.load(open(dir + "/manifest.json"))
    rule = manifest["preprocessing"]
    pixels = numpy.fromfile(dir + "/pixels", dtype=numpy.uint8).reshape(-1, rule["height"], rule["width"], rule["channels"])
    answers.append({
        "metadata": metadata,
        "tensors": {k: {"shape": v.shape, "dtype": str(v.dtype), "data": base64.b64encode(v.tobytes()).decode()} for k, v in tensors.items()},
        "probabilities": network(manifest, tensors, pixels).tolist(),
    })
json.dump(answers, sys.stdout)
`

func TestPythonReadsAndWritesOurWeightsAndComputesTheNetworkFromThem(t *testing.T) {
	const batch, tolerance = 16, 1e-4
	rng := rand.New(rand.NewPCG(5, 6))
	artifacts := everyArchitecture(t)
	var dirs []string
	var pixels [][]byte
	for _, a := range artifacts {
		dir := t.TempDir()
		files, err := a.Files()
		if err != nil {
			t.Fatal(err)
		}
		px := make([]byte, batch*a.Manifest.Preprocessing.Size())
		for k := range px {
			px[k] = byte(rng.Uint32())
		}
		files["pixels"] = px
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		dirs, pixels = append(dirs, dir), append(pixels, px)
	}
	var answers []struct {
		Metadata map[string]string
		Tensors  map[string]struct {
			Shape []int
			Dtype string
			Data  []byte
		}
		Probabilities [][]float64
	}
	runSafetensors(t, dirs, &answers)
	if len(answers) != len(artifacts) {
		t.Fatalf("%d of %d models answered", len(answers), len(artifacts))
	}
	tensors, worst := 0, 0.0
	for i, a := range artifacts {
		got := answers[i]
		if len(got.Tensors) != len(a.Weights) || got.Metadata["format"] != "pt" {
			t.Errorf("%v: %d tensors and metadata %v, want %d", a.Manifest.Spec, len(got.Tensors), got.Metadata, len(a.Weights))
		}
		for _, w := range a.Weights {
			tensors++
			read := got.Tensors[w.Name]
			if read.Dtype != "float32" || !slices.Equal(read.Shape, w.Shape) || !bytes.Equal(read.Data, raw(w.Data)) {
				t.Errorf("%v: %s %v is read as %s %v, or with other values", a.Manifest.Spec, w.Name, w.Shape, read.Dtype, read.Shape)
			}
		}
		written, err := os.ReadFile(filepath.Join(dirs[i], "written.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		sameTensors(t, a.Weights, written)
		worst = max(worst, sameProbabilities(t, a, pixels[i], got.Probabilities, tolerance))
	}
	t.Logf("%d models, %d tensors the same there and back, %d rows each: largest difference of a probability %.3g", len(artifacts), tensors, batch, worst)
}

// sameTensors compares what Python wrote, in an order of its own.
func sameTensors(t *testing.T, want network.Weights, written []byte) {
	t.Helper()
	got, metadata, err := network.DecodeSafetensors(written)
	if err != nil || len(got) != len(want) || metadata["format"] != "pt" {
		t.Fatalf("what Python wrote: %d tensors, metadata %v, %v, want %d", len(got), metadata, err, len(want))
	}
	byName := map[string]network.Tensor{}
	for _, w := range got {
		byName[w.Name] = w
	}
	for _, w := range want {
		if back := byName[w.Name]; !slices.Equal(back.Shape, w.Shape) || !bytes.Equal(raw(back.Data), raw(w.Data)) {
			t.Errorf("%s %v came back as %v, or with other values", w.Name, w.Shape, back.Shape)
		}
	}
}

func sameProbabilities(t *testing.T, a *network.Artifact, pixels []byte, got [][]float64, tolerance float64) (worst float64) {
	t.Helper()
	c, err := network.NewClassifier(a)
	if err != nil {
		t.Fatal(err)
	}
	size := a.Manifest.Preprocessing.Size()
	if len(got) != len(pixels)/size {
		t.Fatalf("%v: %d rows", a.Manifest.Spec, len(got))
	}
	for row, probabilities := range got {
		want, err := c.Pixels(pixels[row*size:][:size])
		if err != nil || len(probabilities) != len(want) {
			t.Fatalf("%d probabilities, want %d, %v", len(probabilities), len(want), err)
		}
		for k, p := range want {
			d := math.Abs(float64(p) - probabilities[k])
			if worst = max(worst, d); !(d <= tolerance) {
				t.Errorf("%v: row %d, class %d has %v in numpy, %v here", a.Manifest.Spec, row, k, probabilities[k], p)
			}
		}
	}
	return worst
}

// raw are the bits of values, so that a zero's sign counts.
func raw(values []float32) []byte {
	var out []byte
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

func runSafetensors(t *testing.T, dirs []string, answers any) {
	t.Helper()
	in, err := json.Marshal(dirs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python(t, safetensorsPackages...), "-c", safetensorsScript)
	cmd.Stdin = strings.NewReader(string(in))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("safetensors: %v\n%s", err, complaint.String())
	}
	if err := json.Unmarshal(out, answers); err != nil {
		t.Fatal(fmt.Errorf("%w in %.300s", err, out))
	}
}

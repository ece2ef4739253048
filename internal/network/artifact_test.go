package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

func filesOf(t testing.TB, a *Artifact) map[string][]byte {
	t.Helper()
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestArtifactSurvivesItsFiles(t *testing.T) {
	a := artifact(t, 16, 8)
	a.Manifest.Options = json.RawMessage(`{"epochs":3,"name":"<&>"}`)
	files := filesOf(t, a)
	got, ref, err := ReadArtifact(files)
	if err != nil {
		t.Fatal(err)
	}
	if ref != Digest(files) || !strings.HasPrefix(string(ref), "sha256:") || len(ref) != 71 {
		t.Errorf("named %s, digest %s", ref, Digest(files))
	}
	if !reflect.DeepEqual(got.Weights, a.Weights) {
		t.Error("weights changed on the way")
	}
	again := filesOf(t, got)
	for name := range files {
		if !bytes.Equal(files[name], again[name]) {
			t.Errorf("%s: a read artifact encodes to other bytes", name)
		}
	}
	if got := classifier(t, got).Manifest().TrainedOn; !slices.Equal(got, a.Manifest.TrainedOn) {
		t.Errorf("trained on %v", got)
	}
}

func TestAnArtifactOfEveryFamilySurvivesItsFiles(t *testing.T) {
	for name, s := range families() {
		a := artifactOf(t, s)
		files := filesOf(t, a)
		got, ref, err := ReadArtifact(files)
		if err != nil || ref != Digest(files) || !reflect.DeepEqual(got.Weights, a.Weights) || !reflect.DeepEqual(got.Manifest.Spec, s) {
			t.Errorf("%s: read %s, %v, want %s and the same network", name, ref, err, Digest(files))
			continue
		}
		classifier(t, got)
		again := filesOf(t, got)
		for file := range files {
			if !bytes.Equal(files[file], again[file]) {
				t.Errorf("%s: %s: a read artifact encodes to other bytes", name, file)
			}
		}
	}
}

func TestANetworkThatIsNotThatOfItsFilesIsRefused(t *testing.T) {
	s := CNN(Size{8, 6, 1}, CNNOptions{Filters: []int{2}, Dense: []int{3}, BatchNorm: true}, 2)
	for _, tt := range []struct {
		name, want string
		change     func(spec map[string]any, layer func(at int) map[string]any)
	}{
		{"a pool larger than its input", "layers[2] pool 7 stride 2 on 8x6x2: the window is larger than its input: want a kernel of at most 6", func(_ map[string]any, layer func(int) map[string]any) { layer(2)["kernel"] = 7 }},
		{"a last layer that is no dense one", "layers[5] is batchnorm: want the last to be dense", func(_ map[string]any, layer func(int) map[string]any) {
			layer(5)["kind"] = BatchNorm
			delete(layer(5), "units")
			delete(layer(5), "bias")
		}},
		{"another pool", "tensor 5 is layers.2.weight [3 24] with 72 values, the architecture wants layers.2.weight [3 12]", func(_ map[string]any, layer func(int) map[string]any) { layer(2)["kernel"], layer(2)["stride"] = 3, 2 }},
		{"a bias that is not there", "12 tensors, the architecture wants 13", func(_ map[string]any, layer func(int) map[string]any) { layer(0)["bias"] = true }},
		{"an image of another shape", "preprocessing gives 8x6x1, the network's input is 6x8x1: want the same", func(spec map[string]any, _ func(int) map[string]any) {
			spec["input"] = map[string]any{"height": 6, "width": 8, "channels": 1}
		}},
		{"a row for an image", "preprocessing gives 8x6x1, the network's input is 1x1x48", func(spec map[string]any, _ func(int) map[string]any) {
			spec["input"] = map[string]any{"height": 1, "width": 1, "channels": 48}
		}},
		{"a stride that is no number", "cannot unmarshal string", func(_ map[string]any, layer func(int) map[string]any) { layer(0)["stride"] = "2" }},
		{"gigabytes between the layers", "MiB a sample: want at most 256 MiB", func(_ map[string]any, layer func(int) map[string]any) {
			layer(0)["units"] = 1 << 20
			layer(0)["padding"] = 2
		}},
	} {
		files := maps.Clone(filesOf(t, artifactOf(t, s)))
		resign(t, files, func(m map[string]any) {
			tt.change(m["spec"].(map[string]any), func(at int) map[string]any { return layersOf(m)[at].(map[string]any) })
		})
		if _, _, err := ReadArtifact(files); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v\nwant ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
}

func TestAnyAlteredByteIsRefused(t *testing.T) {
	files := filesOf(t, artifact(t, 4))
	for name, content := range files {
		step := max(1, len(content)/400)
		for at := 0; at < len(content); at += step {
			changed := maps.Clone(files)
			b := slices.Clone(content)
			b[at] ^= 1
			changed[name] = b
			if _, _, err := ReadArtifact(changed); !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("%s with byte %d altered: error %v, want ErrInvalid", name, at, err)
			}
		}
	}
}

// resign edits the manifest and makes the checksum right again, so that the
// check behind it speaks.
func resign(t *testing.T, files map[string][]byte, edit func(m map[string]any)) {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(files[ManifestFile], &m); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(m)
	}
	m["checksum"] = zeroSum
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	files[ManifestFile] = b
	files[ManifestFile] = bytes.Replace(b, []byte(zeroSum), []byte(Digest(files)), 1)
}

func layersOf(manifest map[string]any) []any {
	return manifest["spec"].(map[string]any)["layers"].([]any)
}

func TestReadArtifactSaysWhyItRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(files map[string][]byte)
	}{
		{"no manifest", "manifest.json is missing", func(f map[string][]byte) { delete(f, ManifestFile) }},
		{"no weights", "weights.safetensors is missing", func(f map[string][]byte) { delete(f, WeightsFile) }},
		{"a file more", `file "run.sh" is not part`, func(f map[string][]byte) { f["run.sh"] = []byte("x") }},
		{"truncated weights", "altered or cut off", func(f map[string][]byte) { f[WeightsFile] = f[WeightsFile][:len(f[WeightsFile])-4] }},
		{"truncated weights, signed", "data_offsets", func(f map[string][]byte) {
			f[WeightsFile] = f[WeightsFile][:len(f[WeightsFile])-4]
			resign(t, f, nil)
		}},
		{"no graph", "model.onnx is missing", func(f map[string][]byte) { delete(f, ONNXFile) }},
		{"newer format", "format version 4, this driftgate reads 1 to 3: a newer driftgate reads it", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["format_version"] = 4 })
		}},
		{"newer format with fields of its own", "format version 4, this driftgate reads 1 to 3", func(f map[string][]byte) {
			f["model.bin"] = []byte("x")
			resign(t, f, func(m map[string]any) { m["format_version"], m["shards"] = 4, []string{"a"} })
		}},
		{"a graph in format 1", `file "model.onnx" is not part`, func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["format_version"] = 1 })
		}},
		{"wrong shapes", "the architecture wants layers.0.weight [5 784]", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { layersOf(m)[0].(map[string]any)["units"] = 5 })
		}},
		{"too few layers", "the architecture wants 2", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["spec"].(map[string]any)["layers"] = layersOf(m)[1:] })
		}},
		{"another architecture in the old form", `architecture "cnn" with inputs and hidden: want "mlp"`, func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) {
				m["spec"] = map[string]any{"architecture": "cnn", "inputs": 784, "hidden": []int{4}, "classes": 10}
			})
		}},
		{"an unknown field in the spec", `unknown field "groups"`, func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["spec"].(map[string]any)["groups"] = 1 })
		}},
		{"an unknown kind", `layers[0] attention: kind "attention": want dense, conv`, func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { layersOf(m)[0].(map[string]any)["kind"] = "attention" })
		}},
		{"other labels", "labels.txt differs", func(f map[string][]byte) {
			f[LabelsFile] = []byte("cat\ndog\n")
			resign(t, f, nil)
		}},
		{"unknown field", `unknown field "extra"`, func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["extra"] = 1 })
		}},
		{"no self-test", "self_test: 0 vectors", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["self_test"] = []any{} })
		}},
		{"loose self-test", "tolerance", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["self_test"].([]any)[0].(map[string]any)["tolerance"] = 1 })
		}},
		{"temperature zero", "temperature 0", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["calibration"].(map[string]any)["temperature"] = 0 })
		}},
		{"text after the manifest", "after top-level value", func(f map[string][]byte) { f[ManifestFile] = append(slices.Clone(f[ManifestFile]), "{}"...) }},
		{"not JSON", "read manifest", func(f map[string][]byte) { f[ManifestFile] = []byte("hello") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := maps.Clone(filesOf(t, artifact(t, 4)))
			tt.change(files)
			_, _, err := ReadArtifact(files)
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nwant ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

// older writes the files of an artifact of a MLP as an older format has them.
func older(t *testing.T, a *Artifact, format int) map[string][]byte {
	t.Helper()
	files := filesOf(t, a)
	if format < 2 {
		delete(files, ONNXFile)
	}
	hidden := []int{}
	for _, l := range a.Manifest.Spec.Layers[:len(a.Manifest.Spec.Layers)-1] {
		hidden = append(hidden, l.Units)
	}
	resign(t, files, func(m map[string]any) {
		m["format_version"] = format
		m["spec"] = map[string]any{"architecture": "mlp", "inputs": a.Manifest.Spec.Inputs(), "hidden": hidden, "classes": a.Manifest.Spec.Classes}
	})
	return files
}

func TestOlderFormatsAreReadStill(t *testing.T) {
	for format, names := range map[int][]string{
		1: {WeightsFile, LabelsFile, ManifestFile},
		2: {WeightsFile, ONNXFile, LabelsFile, ManifestFile},
	} {
		for _, hidden := range [][]int{{4}, {9, 7}, nil} {
			a := artifact(t, hidden...)
			files := older(t, a, format)
			got, ref, err := ReadArtifact(files)
			if err != nil || ref != Digest(files) || !reflect.DeepEqual(got.Weights, a.Weights) {
				t.Fatalf("format %d: read %s, %v, want %s", format, ref, err, Digest(files))
			}
			if !a.Manifest.Spec.Takes(got.Manifest.Spec) || !got.Manifest.Spec.Takes(a.Manifest.Spec) {
				t.Errorf("format %d: read as %v, want a network that takes the weights of %v", format, got.Manifest.Spec, a.Manifest.Spec)
			}
			if list, err := FilesOf(files[ManifestFile]); err != nil || !slices.Equal(list, names) {
				t.Errorf("format %d: its files are %v, %v", format, list, err)
			}
			if graph, err := ONNX(got); err != nil || !bytes.Equal(graph, filesOf(t, a)[ONNXFile]) {
				t.Errorf("format %d: its graph, made on demand, is not that of format %d, %v", format, FormatVersion, err)
			}
			classifier(t, got)
		}
	}
}

func TestFilesRefusesWhatIsNoModel(t *testing.T) {
	a := artifact(t, 4)
	a.Manifest.Classes = dg.Food11
	if _, err := a.Files(); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("11 classes for 10 outputs: %v", err)
	}
	a = artifact(t, 4)
	a.Weights[0].Data[3] /= 0
	if _, err := a.Files(); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "layers.0.weight[3]") {
		t.Errorf("an infinite weight: %v", err)
	}
}

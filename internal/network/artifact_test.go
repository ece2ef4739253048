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
		{"newer format", "format version 3, this driftgate reads 1 to 2: a newer driftgate reads it", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["format_version"] = 3 })
		}},
		{"newer format with fields of its own", "format version 3, this driftgate reads 1 to 2", func(f map[string][]byte) {
			f["model.bin"] = []byte("x")
			resign(t, f, func(m map[string]any) { m["format_version"], m["shards"] = 3, []string{"a"} })
		}},
		{"a graph in format 1", `file "model.onnx" is not part`, func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["format_version"] = 1 })
		}},
		{"wrong shapes", "the architecture wants layers.0.weight [5 784]", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["spec"].(map[string]any)["hidden"] = []int{5} })
		}},
		{"too few layers", "the architecture wants 2", func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["spec"].(map[string]any)["hidden"] = []int{} })
		}},
		{"another architecture", `architecture "cnn": want "mlp"`, func(f map[string][]byte) {
			resign(t, f, func(m map[string]any) { m["spec"].(map[string]any)["architecture"] = "cnn" })
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

func TestFormat1IsReadStill(t *testing.T) {
	a := artifact(t, 4)
	files := filesOf(t, a)
	delete(files, ONNXFile)
	resign(t, files, func(m map[string]any) { m["format_version"] = 1 })
	got, ref, err := ReadArtifact(files)
	if err != nil || ref != Digest(files) || !reflect.DeepEqual(got.Weights, a.Weights) {
		t.Fatalf("read %s, %v, want %s", ref, err, Digest(files))
	}
	if names, err := FilesOf(files[ManifestFile]); err != nil || !slices.Equal(names, []string{WeightsFile, LabelsFile, ManifestFile}) {
		t.Errorf("its files are %v, %v", names, err)
	}
	if graph, err := ONNX(got); err != nil || !bytes.Equal(graph, filesOf(t, a)[ONNXFile]) {
		t.Errorf("its graph, made on demand, is not that of format 2, %v", err)
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

func TestSpecReportsEveryFault(t *testing.T) {
	err := Spec{Architecture: "x", Inputs: 0, Hidden: []int{-1}, Classes: 1}.Validate()
	for _, want := range []string{"architecture", "inputs 0", "hidden[0]", "classes 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
	if err := (Spec{MLP, 1 << 20, []int{1 << 20}, 10}).Validate(); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("a terabyte of weights: %v", err)
	}
}

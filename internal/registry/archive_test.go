package registry_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

func (w *world) export(ref dg.ModelRef) []byte {
	w.t.Helper()
	var b bytes.Buffer
	if err := w.Export(w.t.Context(), ref, &b); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

func TestAModelTravelsToAnotherInstallation(t *testing.T) {
	here, there := newWorld(t), newWorld(t)
	ctx := t.Context()
	ref := here.save(1)
	file := here.export(ref)
	if !bytes.Equal(file, here.export(ref)) {
		t.Error("the same model gives other bytes")
	}
	for range 2 { // the second time it is there already
		got, err := there.Import(ctx, bytes.NewReader(file))
		if err != nil || got != ref {
			t.Fatalf("imported %s, %v, want %s", got, err, ref)
		}
	}
	if !bytes.Equal(file, there.export(ref)) {
		t.Error("exported again it has other bytes")
	}
	if _, err := there.Champion(ctx); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an import made a champion: %v", err)
	}
	if c := there.promote(ref, dg.Champion{}, ""); c.Version != ref {
		t.Errorf("promoted %+v", c)
	}
}

func TestAnExportOfFormat1IsImported(t *testing.T) {
	here, there := newWorld(t), newWorld(t)
	files := format1(t)
	ref, err := here.Save(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	got, err := there.Import(t.Context(), bytes.NewReader(here.export(ref)))
	if err != nil || got != ref {
		t.Fatalf("imported %s, %v, want %s", got, err, ref)
	}
	graph, err := there.ONNX(t.Context(), ref)
	if err != nil || !bytes.Equal(graph, filesOf(t, 1)[network.ONNXFile]) {
		t.Errorf("its ONNX is not what a newer format holds, %v", err)
	}
}

// format1 makes the artifact of seed 1 as a driftgate before model.onnx did.
func format1(t *testing.T) map[string][]byte {
	t.Helper()
	files := filesOf(t, 1)
	delete(files, network.ONNXFile)
	var m map[string]any
	if err := json.Unmarshal(files[network.ManifestFile], &m); err != nil {
		t.Fatal(err)
	}
	zero := "sha256:" + strings.Repeat("0", 64)
	m["format_version"], m["checksum"] = 1, zero
	m["spec"] = map[string]any{"architecture": "mlp", "inputs": dataset.GarmentPreprocessing().Size(), "hidden": []int{4}, "classes": len(dg.FashionMNIST)}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	files[network.ManifestFile] = b
	files[network.ManifestFile] = bytes.Replace(b, []byte(zero), []byte(network.Digest(files)), 1)
	return files
}

func TestTheSignatureTravelsAlong(t *testing.T) {
	here, there := newWorld(t), newWorld(t)
	ctx := t.Context()
	private, public := keyPair(t)
	_, strangerPub := keyPair(t)
	ref, err := here.keyed(private).Save(ctx, filesOf(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	file := here.export(ref)
	_, err = there.keyed("", strangerPub).Import(ctx, bytes.NewReader(file))
	wantKind(t, "import from a stranger", err, dg.ErrRefused)
	if keys, err := there.store.Bucket(there.bucket).Keys(ctx, "artifacts/"); err != nil || len(keys) != 0 {
		t.Errorf("the refused import left %v, %v", keys, err)
	}
	trusting := there.keyed("", public)
	if _, err := trusting.Import(ctx, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	if _, err := trusting.Load(ctx, ref); err != nil {
		t.Errorf("load after the import: %v", err)
	}
	_, err = trusting.Import(ctx, bytes.NewReader(here.export(here.save(2))))
	wantKind(t, "import an unsigned one", err, dg.ErrRefused)
	// Imported unsigned before, by a registry that did not ask.
	late := newWorld(t)
	if _, err := late.Import(ctx, bytes.NewReader(newWorldExport(t, 1))); err != nil {
		t.Fatal(err)
	}
	if _, err := late.keyed("", public).Import(ctx, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	if _, err := late.keyed("", public).Load(ctx, ref); err != nil {
		t.Errorf("the later import brought no signature: %v", err)
	}
}

// newWorldExport exports the model of a seed from a registry without keys.
func newWorldExport(t *testing.T, seed uint64) []byte {
	t.Helper()
	w := newWorld(t)
	return w.export(w.save(seed))
}

func TestAnAlteredOrTruncatedFileIsNotImported(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	private, _ := keyPair(t)
	ref, err := w.keyed(private).Save(ctx, filesOf(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	file := w.export(ref)
	target := newWorld(t)
	refuse := func(what string, b []byte) {
		t.Helper()
		if _, err := target.Import(ctx, bytes.NewReader(b)); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", what, err)
		}
	}
	step := max(1, len(file)/600)
	for at := 0; at < len(file); at += step {
		changed := bytes.Clone(file)
		changed[at] ^= 1 << (at % 8)
		if _, err := target.Import(ctx, bytes.NewReader(changed)); !errors.Is(err, dg.ErrInvalid) {
			t.Fatalf("byte %d of %d altered: error %v, want ErrInvalid", at, len(file), err)
		}
	}
	for at := 0; at < len(file); at += step * 3 {
		if _, err := target.Import(ctx, bytes.NewReader(file[:at])); !errors.Is(err, dg.ErrInvalid) {
			t.Fatalf("cut off at %d of %d: error %v, want ErrInvalid", at, len(file), err)
		}
	}
	refuse("a byte more", append(bytes.Clone(file), 0))
	refuse("twice", append(bytes.Clone(file), file...))
	refuse("no tar at all", []byte(strings.Repeat("hello ", 200)))
	refuse("a PNG", append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 2000)...))
	lost := errors.New("connection lost")
	_, err = target.Import(ctx, io.MultiReader(bytes.NewReader(file[:1000]), iotest.ErrReader(lost)))
	if !errors.Is(err, lost) || errors.Is(err, dg.ErrInvalid) {
		t.Errorf("a lost connection: %v, want it told apart from a bad file", err)
	}
	if keys, err := target.store.Bucket(target.bucket).Keys(ctx, ""); err != nil || len(keys) != 0 {
		t.Errorf("the refused imports left %v, %v", keys, err)
	}
	if got, err := target.Import(ctx, iotest.OneByteReader(bytes.NewReader(file))); err != nil || got != ref {
		t.Errorf("the file itself, byte by byte: %s, %v", got, err)
	}
}

// repack writes entries as another program would.
func repack(t *testing.T, names []string, contents map[string][]byte, change func(*tar.Header)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(contents[name])), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if change != nil {
			change(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(contents[name]); err != nil && h.Typeflag == tar.TypeReg {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatOthersPackIsRefusedWithTheReason(t *testing.T) {
	w := newWorld(t)
	file := w.export(w.save(1))
	var names []string
	contents := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(file)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if contents[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(repack(t, names, contents, nil), file) {
		t.Fatal("the test packs otherwise than the export: it would prove little")
	}
	index := names[0]
	edit := func(from, to string) map[string][]byte {
		c := maps.Clone(contents)
		c[index] = bytes.Replace(c[index], []byte(from), []byte(to), 1)
		if bytes.Equal(c[index], contents[index]) {
			t.Fatalf("no %q in the index:\n%s", from, c[index])
		}
		return c
	}
	swapped := maps.Clone(contents)
	for name, b := range filesOf(t, 2) {
		swapped[name] = b
	}
	for _, tt := range []struct {
		name, says string
		file       []byte
	}{
		{"a newer archive", "format version 2, this driftgate reads 1: a newer driftgate reads it", repack(t, names, edit(`"format_version": 1`, `"format_version": 2`), nil)},
		{"a newer artifact", "artifact format 9, this driftgate reads 1 to 3: a newer driftgate reads it", repack(t, names, edit(`"artifact_format": 3`, `"artifact_format": 9`), nil)},
		{"a path in the index", "want weights.safetensors", repack(t, names, edit(`"name": "weights.safetensors"`, `"name": "../../etc/passwd"`), nil)},
		{"a path in the archive", "where weights.safetensors belongs", repack(t, names, contents, func(h *tar.Header) {
			if h.Name == "weights.safetensors" {
				h.Name = "../weights.safetensors"
			}
		})},
		{"a link", "belongs", repack(t, names, contents, func(h *tar.Header) {
			if h.Name == "labels.txt" {
				h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, "/etc/passwd", 0
			}
		})},
		{"a terabyte promised", "want weights.safetensors", repack(t, names, edit(`"size": `, `"size": 1000000000000`), nil)},
		{"files of another model", "altered", repack(t, names, swapped, nil)},
		{"another order", "belongs", repack(t, append([]string{names[0], names[2], names[1]}, names[3:]...), contents, nil)},
		{"a file left out", "cut off", repack(t, names[:len(names)-1], contents, nil)},
		{"another date", "altered, or packed by another program", repack(t, names, contents, func(h *tar.Header) { h.ModTime = time.Unix(1, 0) })},
	} {
		_, err := w.Import(t.Context(), bytes.NewReader(tt.file))
		wantKind(t, tt.name, err, dg.ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v\nwant %q", tt.name, err, tt.says)
		}
	}
}

package dataset

import (
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

// testData is a folder of the real data, or skips the test.
func testData(t *testing.T, sub string) string {
	t.Helper()
	root := os.Getenv("DRIFTGATE_TEST_DATA")
	if root == "" {
		t.Skip("DRIFTGATE_TEST_DATA is not set: the real data is not here")
	}
	dir := filepath.Join(root, sub)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("DRIFTGATE_TEST_DATA holds no %s", sub)
	}
	return dir
}

// smallFashion makes the package believe in a Fashion-MNIST of 20 + 10 images
// until the test ends, and returns its four files.
func smallFashion(t *testing.T) map[string][]byte {
	t.Helper()
	set := Synthetic(SyntheticOptions{Seed: 3, Train: 20, Test: 10})
	labels := func(sp Split) []byte {
		b := make([]byte, sp.Len())
		for i, l := range sp.Labels {
			b[i] = byte(l)
		}
		return b
	}
	before := fashionFiles
	t.Cleanup(func() { fashionFiles = before })
	files := map[string][]byte{}
	for i, c := range []struct {
		data []byte
		dims []int
	}{
		{set.Train.Pixels, []int{20, Side, Side}}, {labels(set.Train), []int{20}},
		{set.Test.Pixels, []int{10, Side, Side}}, {labels(set.Test), []int{10}},
	} {
		plain := mustIDX(t, c.data, c.dims...)
		sum := md5.Sum(plain)
		fashionFiles[i].md5, fashionFiles[i].dims = hex.EncodeToString(sum[:]), c.dims
		zipped, err := compress(plain, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		files[fashionFiles[i].name] = zipped
	}
	return files
}

func mirror(t *testing.T, files map[string][]byte) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := files[strings.TrimPrefix(r.URL.Path, "/data/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestFetchFashionMNISTThenRead(t *testing.T) {
	files := smallFashion(t)
	s := mirror(t, files)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	if err := FetchFashionMNIST(t.Context(), s.URL+"/data/", dir); err != nil {
		t.Fatal(err)
	}
	set, err := ReadFashionMNIST(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := Synthetic(SyntheticOptions{Seed: 3, Train: 20, Test: 10}); set.Fingerprint() != want.Fingerprint() {
		t.Error("what was read is not what the mirror has")
	}
	if set.Train.IDs[7] != "train/00007" || set.Test.IDs[0] != "test/00000" {
		t.Errorf("ids %q, %q", set.Train.IDs[7], set.Test.IDs[0])
	}
	s.Close()
	if err := FetchFashionMNIST(t.Context(), s.URL+"/data", dir); err != nil {
		t.Errorf("files that are there in good order were asked for again: %v", err)
	}
	// plain files do as well
	for _, f := range fashionFiles {
		plain, err := gunzip(files[f.name])
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(filepath.Join(dir, f.name)), os.WriteFile(filepath.Join(dir, f.plainName()), plain, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadFashionMNIST(dir); err != nil {
		t.Errorf("plain files: %v", err)
	}
}

func TestFetchFashionMNISTLeavesNothingBrokenBehind(t *testing.T) {
	files := smallFashion(t)
	bad := files["t10k-images-idx3-ubyte.gz"]
	plain, err := gunzip(bad)
	if err != nil {
		t.Fatal(err)
	}
	bent := slices.Clone(plain)
	bent[100] ^= 1
	for _, tt := range []struct {
		name   string
		body   []byte
		want   string
		status int
	}{
		{"one bit wrong, archive in good order", bent, "md5 of the content", 0},
		{"half the archive", bad[:len(bad)/2], "truncated gzip", 0},
		{"a web page", []byte("<html>"), "magic number", 0},
		{"not there", nil, "404", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			served := map[string][]byte{}
			for k, v := range files {
				served[k] = v
			}
			served["t10k-images-idx3-ubyte.gz"] = tt.body
			if tt.body == nil {
				delete(served, "t10k-images-idx3-ubyte.gz")
			}
			err := FetchFashionMNIST(t.Context(), mirror(t, served).URL+"/data", dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "t10k-images-idx3-ubyte.gz") {
				t.Fatalf("got %v, want %q and the file's name", err, tt.want)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 2 {
				t.Errorf("left behind: %v, %v; want the two files that came whole", left, err)
			}
		})
	}
}

func TestFetchFashionMNISTStopsAtTheSizeCap(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for b := make([]byte, 1<<20); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	dir := t.TempDir()
	if err := FetchFashionMNIST(t.Context(), s.URL, dir); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v, want ErrInvalid with the limit", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchFashionMNISTEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := FetchFashionMNIST(ctx, "http://127.0.0.1:1", t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestReadFashionMNISTNamesTheMissingFile(t *testing.T) {
	_, err := ReadFashionMNIST(t.TempDir())
	if !errors.Is(err, dg.ErrNotFound) || !strings.Contains(err.Error(), "train-images-idx3-ubyte") {
		t.Errorf("got %v, want ErrNotFound with the file's name", err)
	}
}

func TestLoadFashionMNISTFromAStore(t *testing.T) {
	files := smallFashion(t)
	st := memoryStore{}
	for name, b := range files {
		st["raw/"+name] = b
	}
	set, err := LoadFashionMNIST(t.Context(), st, "raw/")
	if err != nil || set.Train.Len() != 20 {
		t.Fatalf("%d images, %v", set.Train.Len(), err)
	}
	if _, err := LoadFashionMNIST(t.Context(), st, "elsewhere/"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestRealFashionMNIST(t *testing.T) {
	dir := testData(t, "fashion-mnist")
	set, err := ReadFashionMNIST(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := Validate(set, Rules{})
	if r.Err() != nil || r.Train != 60000 || r.Test != 10000 {
		t.Errorf("%d + %d images, %v", r.Train, r.Test, r.Err())
	}
	for _, c := range r.Classes {
		if c.Train != 6000 || c.Test != 1000 {
			t.Errorf("class %s: %d + %d images, want 6000 + 1000", c.Label, c.Train, c.Test)
		}
	}
	t.Logf("%d doubles, %d leaked, %d label conflicts, %v", r.Doubles, r.Leaked, r.Conflict, r.Warnings)
	sum := 0.0
	for _, v := range set.Train.Pixels {
		sum += float64(v)
	}
	if mean := sum / 255 / float64(len(set.Train.Pixels)); mean < garmentMean-0.0001 || mean > garmentMean+0.0001 {
		t.Errorf("mean of the pixels is %.4f, the preprocessing says %.4f", mean, garmentMean)
	}
}

func TestRealFashionMNISTWithOneBitWrongIsRefusedByName(t *testing.T) {
	from := testData(t, "fashion-mnist")
	dir := t.TempDir()
	for _, f := range fashionFiles {
		b, err := os.ReadFile(filepath.Join(from, f.name))
		if err != nil {
			t.Fatal(err)
		}
		name := f.name
		if name == "t10k-labels-idx1-ubyte.gz" { // the archive stays whole, its content does not
			if b, err = gunzip(b); err != nil {
				t.Fatal(err)
			}
			b[5000] ^= 1
			name = f.plainName()
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := ReadFashionMNIST(dir)
	if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "t10k-labels-idx1-ubyte") || !strings.Contains(err.Error(), "md5") {
		t.Errorf("got %v, want ErrInvalid with the file's name", err)
	}
}

func TestRealFashionMNISTFromAMirror(t *testing.T) {
	from := testData(t, "fashion-mnist")
	s := httptest.NewServer(http.FileServer(http.Dir(from)))
	defer s.Close()
	dir := t.TempDir()
	if err := FetchFashionMNIST(t.Context(), s.URL, dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range fashionFiles {
		got, err1 := os.ReadFile(filepath.Join(dir, f.name))
		want, err2 := os.ReadFile(filepath.Join(from, f.name))
		if err1 != nil || err2 != nil || !slices.Equal(got, want) {
			t.Errorf("%s did not arrive whole: %v, %v", f.name, err1, err2)
		}
	}
}

package trainer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// What lies in the buckets and cannot be trained on is refused by a real child
// process, by name and with the reason.
func TestBadDatasetsAreRefused(t *testing.T) {
	job, store := cluster(t)
	bucket := store.Bucket(buckets.Datasets)
	for _, tt := range []struct {
		name, file string
		change     func(plain []byte) []byte // of the file, unpacked
		want       string
	}{
		{"a label out of range", "train-labels.idx.gz", func(b []byte) []byte { b[8+7] = 12; return b }, "label 12 at 7: want below 10"},
		{"a label of another class", "train-labels.idx.gz", func(b []byte) []byte { b[8] = (b[8] + 1) % 10; return b }, "was changed or damaged"},
		{"images cut off", "train-images.idx.gz", func(b []byte) []byte { return b[:len(b)-100] }, "truncated: dimensions [1500 28 28] need"},
		{"an image too many", "test-images.idx.gz", func(b []byte) []byte { return append(b, make([]byte, 784)...) }, "784 trailing bytes"},
		{"one altered pixel", "train-images.idx.gz", func(b []byte) []byte { b[5000] ^= 1; return b }, "was changed or damaged"},
		{"ids of fewer images", "train-ids.txt.gz", func(b []byte) []byte { return b[:bytes.LastIndexByte(b, '\n')] }, "1499 ids, the manifest says 1500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := strings.Replace(job.Dataset, "@", "/", 1) + "/" + tt.file
			good, err := bucket.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			mustPut(t, bucket, key, zipped(t, tt.change(unzipped(t, good))))
			defer mustPut(t, bucket, key, good)
			job := job
			job.Dir = t.TempDir()
			_, err = Spawn(t.Context(), self(t), nil, job, nil)
			for _, want := range []string{"load base dataset " + job.Dataset, tt.want} {
				if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v\nwant an invalid one with %q", err, want)
				}
			}
		})
	}
	t.Run("a class with no image", func(t *testing.T) {
		set := garments()
		set.Name = "no-bags"
		set.Train = dataset.Split{}
		for i, label := range garments().Train.Labels {
			if label != 8 {
				set.Train.Pixels = append(set.Train.Pixels, set.Image(garments().Train, i)...)
				set.Train.Labels, set.Train.IDs = append(set.Train.Labels, label), append(set.Train.IDs, garments().Train.IDs[i])
			}
		}
		ref, err := dataset.Save(t.Context(), bucket, set)
		if err != nil {
			t.Fatal(err)
		}
		job := job
		job.Dataset, job.Dir = string(ref), t.TempDir()
		if _, err := Spawn(t.Context(), self(t), nil, job, nil); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "trainer: learn from "+string(ref)+`: invalid: class "Bag" has no image`) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a weight for what is no class", func(t *testing.T) {
		job := job
		job.Options.ClassWeights, job.Dir = map[string]float64{"Hat": 2, "Bag": 2}, t.TempDir()
		_, err := Spawn(t.Context(), self(t), nil, job, nil)
		if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), `class_weights: "Hat" is not a class: want one of ["T-shirt/top"`) || strings.Contains(err.Error(), `"Bag" is not`) {
			t.Errorf("error %v", err)
		}
	})
}

// A parent under the right name, the digest of its files, that is no model.
func TestBadParentsAreRefused(t *testing.T) {
	job, store := cluster(t)
	bucket := store.Bucket(buckets.Models)
	a, err := Train(t.Context(), job, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(files map[string][]byte)
		want   string
	}{
		{"a manifest that does not fit its weights", func(f map[string][]byte) {
			m := f[network.ManifestFile]
			if !bytes.Contains(m, []byte(`"units": 16`)) {
				t.Fatalf("no layer of 16 units in %s", m[:2000])
			}
			seal(t, f, bytes.Replace(m, []byte(`"units": 16`), []byte(`"units": 17`), 1))
		}, "tensor 0 is layers.0.weight [16 784]"},
		{"other labels than the manifest's", func(f map[string][]byte) {
			f[network.LabelsFile] = bytes.Replace(f[network.LabelsFile], []byte("Bag"), []byte("Hat"), 1)
			seal(t, f, f[network.ManifestFile])
		}, "labels.txt differs from the manifest's classes"},
		{"weights cut off", func(f map[string][]byte) {
			f[network.WeightsFile] = f[network.WeightsFile][:len(f[network.WeightsFile])/2]
		}, "the artifact was altered or cut off"},
		{"weights cut off under a fresh checksum", func(f map[string][]byte) {
			f[network.WeightsFile] = f[network.WeightsFile][:len(f[network.WeightsFile])/2]
			seal(t, f, f[network.ManifestFile])
		}, "safetensors"},
		{"no weights at all", func(f map[string][]byte) { delete(f, network.WeightsFile) }, "weights.safetensors is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files, err := a.Files()
			if err != nil {
				t.Fatal(err)
			}
			tt.change(files)
			ref := network.Digest(files)
			for name, b := range files {
				mustPut(t, bucket, path.Join(artifactsPrefix, strings.TrimPrefix(string(ref), "sha256:"), name), b)
			}
			job := job
			job.Dir, job.RunID, job.Parent, job.Options.Start = t.TempDir(), "run-2", ref, Warm
			if _, err := Spawn(t.Context(), self(t), nil, job, nil); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nwant an invalid one with %q", err, tt.want)
			}
		})
	}
}

// seal gives the files of an artifact a manifest and the checksum that belongs
// to them all.
func seal(t *testing.T, files map[string][]byte, manifest []byte) {
	t.Helper()
	var m struct {
		Checksum string `json:"checksum"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	blank := "sha256:" + strings.Repeat("0", 64)
	files[network.ManifestFile] = bytes.Replace(manifest, []byte(m.Checksum), []byte(blank), 1)
	sum := string(network.Digest(files))
	files[network.ManifestFile] = bytes.Replace(files[network.ManifestFile], []byte(blank), []byte(sum), 1)
}

func mustPut(t *testing.T, bucket objstore.Bucket, key string, b []byte) {
	t.Helper()
	if err := bucket.Put(t.Context(), key, b); err != nil {
		t.Fatal(err)
	}
}

func unzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func zipped(t *testing.T, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"driftgate/internal/dataset"
	"driftgate/internal/objstore"
)

// bomb is a PNG whose header claims 20,000 x 10,000 pixels: 200 megapixels in
// a hundred bytes.
func bomb() []byte {
	chunk := func(kind string, data []byte) []byte {
		body := append([]byte(kind), data...)
		out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
		out = append(out, body...)
		return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(body))
	}
	header := binary.BigEndian.AppendUint32(nil, 20_000)
	header = binary.BigEndian.AppendUint32(header, 10_000)
	return bytes.Join([][]byte{[]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(header, 8, 2, 0, 0, 0)), chunk("IDAT", []byte{0x78, 0x9c}), chunk("IEND", nil)}, nil)
}

func garment(t *testing.T, seed uint64) []byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	png, err := dataset.EncodePNG(dataset.Garment(rng.IntN(10), dataset.Drift{}, rng), 28, 28, 1)
	if err != nil {
		t.Fatal(err)
	}
	return png
}

// onMinIO serves from a real MinIO, with a spool of few predictions.
func onMinIO(t *testing.T) (*gateway, objstore.Options, *process) {
	t.Helper()
	o, server := minioServer(t)
	g := serve(t, filepath.Join(t.TempDir(), "gateway"), fmt.Sprintf(`model: garments
http: {listen: "127.0.0.1:0", rate_per_ip: 0}
s3: {endpoint: %q, access_key: %q, secret_key: %q, bucket_prefix: team-}
serving: {spool_items: 40, max_image_bytes: 200000}
curate: {every: 1h}
metrics: {refresh: 500ms}
`, o.Endpoint, o.AccessKey, o.SecretKey))
	firstChampion(t, g)
	return g, o, server
}

func TestEveryDoorRefusesBadInputAndKeepsWhatWasGood(t *testing.T) {
	g, _, _ := onMinIO(t)
	good := garment(t, 1)
	image := func(b []byte) map[string]string {
		return map[string]string{"image": base64.StdEncoding.EncodeToString(b)}
	}
	var kept struct{ Key string }
	g.call(t, "POST", "/predict", image(good), &kept)
	for name, tt := range map[string]struct {
		method, path string
		in           any
		status       int
		says         string
	}{
		"a truncated image":              {"POST", "/predict", image(good[:len(good)/2]), 400, "image"},
		"a bomb of 200 megapixels":       {"POST", "/predict", image(bomb()), 400, "pixels"},
		"text":                           {"POST", "/predict", image([]byte("hello")), 400, "JPEG"},
		"no image":                       {"POST", "/predict", map[string]string{}, 422, "image"},
		"base64 that is none":            {"POST", "/predict", map[string]string{"image": "%%%"}, 400, "base64"},
		"more bytes than allowed":        {"POST", "/predict", image(make([]byte, 400_000)), 413, "larger than the limit"},
		"a wrong class":                  {"POST", "/correct-label/" + kept.Key, map[string]string{"corrected_class": "Hat"}, 422, "Hat"},
		"an unknown key":                 {"POST", "/flag/class_01/no-such.png", nil, 404, "no-such.png"},
		"a key that climbs":              {"POST", "/flag/class_01/..%2F..%2Fx", nil, 404, ""},
		"an interval backwards":          {"POST", "/api/v1/curate", map[string]string{"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, 422, "start before end"},
		"a window nobody can read":       {"GET", "/api/v1/accuracy?window=soon", nil, 422, "soon"},
		"an unknown version":             {"GET", "/api/v1/compare?a=champion&b=ffff", nil, 404, "ffff"},
		"a version against itself":       {"GET", "/api/v1/compare?a=champion&b=champion", nil, 422, "itself"},
		"nothing to roll back to":        {"POST", "/api/v1/rollback", map[string]string{"reason": "x"}, 409, "no earlier champion"},
		"a dataset nobody has":           {"POST", "/api/v1/train", map[string]any{"dataset": "nope"}, 404, "nope"},
		"a folder that is not there":     {"POST", "/api/v1/ingest", map[string]any{"source": "folder", "data": "/no/such/folder"}, 404, "/no/such/folder"},
		"a webhook that is no JSON":      {"POST", "/api/v1/alerts", "hello", 400, ""},
		"an unknown field in a request":  {"POST", "/api/v1/runs", map[string]string{"reson": "x"}, 422, "reson"},
		"a pipeline nobody knows":        {"POST", "/api/v1/runs", map[string]string{"pipeline": "bake"}, 422, "bake"},
		"labels with a class nobody has": {"POST", "/api/v1/labels", map[string]string{"id": path.Base(kept.Key), "label": "Hat"}, 422, "Hat"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := g.try(t, tt.method, tt.path, tt.in)
			if status != tt.status || !strings.Contains(string(body), tt.says) {
				t.Errorf("%d %s; want %d and %q", status, body, tt.status, tt.says)
			}
		})
	}
	g.call(t, "POST", "/predict", image(good), nil) // and it still serves
}

func TestTheObjectStoreIsGoneForAWhile(t *testing.T) {
	g, o, server := onMinIO(t)
	if err := server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var keys []string
	full := false
	for seed := uint64(0); seed < 60; seed++ {
		status, body := g.try(t, "POST", "/predict", map[string]string{"image": base64.StdEncoding.EncodeToString(garment(t, seed))})
		switch status {
		case 200:
			_, rest, _ := strings.Cut(string(body), `"key":"`)
			key, _, _ := strings.Cut(rest, `"`)
			keys = append(keys, key)
		case 503:
			full = true
		default:
			t.Fatalf("%d %s", status, body)
		}
	}
	if len(keys) < 40 || !full {
		t.Errorf("acknowledged %d of 60 with a spool of 40, full answered: %v", len(keys), full)
	}
	time.Sleep(60 * time.Second)
	if err := server.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	store, err := objstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 2*time.Minute, "every acknowledged prediction is in the bucket with its tags", func() bool {
		for _, key := range keys {
			tags, err := store.Tags(t.Context(), "team-production", key)
			if err != nil || tags["timestamp"] == "" {
				return false
			}
		}
		return true
	})
	t.Logf("MinIO was gone for a minute; %d predictions acknowledged meanwhile, all in S3 %s after its return", len(keys), took.Round(time.Second))
}

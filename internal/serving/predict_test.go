package serving

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
)

func TestPredictionIsStoredWithItsTags(t *testing.T) {
	w := newWorld(t, Options{})
	w.running()
	p := w.predict(3, "photo.Png")
	if p.Label != "Dress" || p.Probability != 0.7 || p.ModelVersion != "0123456789ab" || len(p.Top) != 5 || p.Top[0] != (Ranked{"Dress", 0.7}) {
		t.Errorf("prediction %+v", p)
	}
	if !regexp.MustCompile(`^class_03/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.Png$`).MatchString(p.Key) {
		t.Errorf("key %q", p.Key)
	}
	w.drain()
	body, obj, err := w.store.Get(t.Context(), w.buckets.Production, p.Key)
	if err != nil || !bytes.Equal(body, upload(t, 3)) || obj.ContentType != "image/png" {
		t.Errorf("object of %d bytes, %s: %v", len(body), obj.ContentType, err)
	}
	want := map[string]string{"predicted_class": "Dress", "confidence": "0.700", "timestamp": "2026-03-01T12:00:00Z", "model_version": "0123456789ab"}
	if got := w.tags(w.buckets.Production, p.Key); !maps.Equal(got, want) {
		t.Errorf("tags %v, want %v", got, want)
	}
	r, err := w.ledger.Record(t.Context(), p.Key[len("class_03/"):])
	if err != nil || !r.InProduction || r.PredictedClass != "Dress" || r.Confidence != 0.7 || !r.Timestamp.Equal(noon.Truncate(time.Second)) {
		t.Errorf("ledger has %+v: %v", r, err)
	}
	image, kind, err := w.Image(t.Context(), p.Key)
	if err != nil || kind != "image/png" || !bytes.Equal(image, body) {
		t.Errorf("Image gives %d bytes of %s: %v", len(image), kind, err)
	}
}

func TestExtensionIsTheUploads(t *testing.T) {
	for _, tt := range []struct{ name, filename, want string }{
		{"case is kept", "a.JPG", ".JPG"},
		{"no name, no extension", "", ""},
		{"none at all", "photo", ""},
		{"only the last", "a.tar.gz", ".gz"},
		{"a lone dot is none", "photo.", ""},
		{"a hidden file's name is one", ".png", ".png"},
		{"folders do not count", "a.b/photo", ""},
		{"nor do Windows folders", `C:\x.y\photo`, ""},
		{"ten characters fit", "a.0123456789", ".0123456789"},
		{"eleven do not", "a.0123456789a", ""},
		{"no path out", "a./../../etc", ""},
		{"no odd characters", "a.p%6eg", ""},
		{"no letters beyond ASCII", "a.jpég", ""},
		{"no control characters", "a.p\x00g", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := extension(tt.filename); got != tt.want {
				t.Errorf("extension(%q) = %q, want %q", tt.filename, got, tt.want)
			}
		})
	}
}

// bomb is a valid PNG header that claims 20,000 x 10,000 pixels.
func bomb() []byte {
	header := binary.BigEndian.AppendUint32([]byte("IHDR"), 20_000)
	header = append(binary.BigEndian.AppendUint32(header, 10_000), 8, 2, 0, 0, 0)
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), header...)
	return append(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(header)), make([]byte, 1<<20)...)
}

func TestBadUploadsAreRefusedWithReasonAndKeepNothing(t *testing.T) {
	w := newWorld(t, Options{SpoolItems: 10})
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 64, 64)), nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		upload []byte
		says   string
	}{
		{"nothing", nil, "empty"},
		{"text", []byte("<html>hello</html>"), "not an image"},
		{"half a JPEG", photo.Bytes()[:photo.Len()-20], "jpeg"},
		{"half a PNG", upload(t, 1)[:60], "png"},
		{"a 200-megapixel bomb", bomb(), "200"},
		{"too many bytes", make([]byte, 33<<20), "at most 33554432"},
		{"a GIF", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), "GIF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.Predict(t.Context(), tt.upload, "x.png")
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want invalid, saying %q", err, tt.says)
			}
		})
	}
	if items, size := w.Spooled(); items != 0 || size != 0 {
		t.Errorf("spool holds %d items, %d bytes", items, size)
	}
}

func TestWithoutModelNothingIsPredicted(t *testing.T) {
	w := newWorld(t, Options{})
	s, err := New(Options{Dir: t.TempDir()}, w.store, w.ledger, w.buckets)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Predict(t.Context(), upload(t, 1), ""); !errors.Is(err, dg.ErrIncomplete) {
		t.Errorf("Predict: %v", err)
	}
	if err := s.Correct(t.Context(), "class_00/x", "Bag"); !errors.Is(err, dg.ErrIncomplete) {
		t.Errorf("Correct: %v", err)
	}
	if s.Version() != "" || s.Classes() != nil {
		t.Errorf("version %q, classes %v", s.Version(), s.Classes())
	}
}

func TestModelThatGivesNoProbabilitiesIsAnError(t *testing.T) {
	w := newWorld(t, Options{})
	for _, p := range [][]float32{nil, {1}, {float32nan(), 0, 0, 0, 0, 0, 0, 0, 0, 0}, {-1, 2, 0, 0, 0, 0, 0, 0, 0, 0}} {
		w.install(&model{classes: dg.FashionMNIST, ref: "sha256:bad", predict: func(image.Image) ([]float32, []float32, error) { return p, nil, nil }})
		if got, err := w.Predict(t.Context(), upload(t, 1), ""); err == nil {
			t.Errorf("probabilities %v gave %+v", p, got)
		}
	}
}

func float32nan() float32 { var zero float32; return zero / zero }

func TestSwapUnderLoadFailsNoRequest(t *testing.T) {
	w := newWorld(t, Options{SpoolItems: 100_000})
	refs := []dg.ModelRef{"sha256:aaaaaaaaaaaa", "sha256:bbbbbbbbbbbb", "sha256:cccccccccccc"}
	w.install(testModel(refs[0]))
	var stop atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				p, err := w.Predict(context.Background(), upload(t, 2), "a.png")
				if err != nil || p.Label != "Pullover" {
					t.Errorf("%+v: %v", p, err)
					return
				}
				mu.Lock()
				seen[p.ModelVersion]++
				mu.Unlock()
			}
		})
	}
	for i := range 200 {
		time.Sleep(time.Millisecond)
		w.install(testModel(refs[i%3]))
	}
	stop.Store(true)
	wg.Wait()
	for _, ref := range refs {
		if seen[ref.Short()] == 0 {
			t.Errorf("no prediction by %s: %v", ref, seen)
		}
	}
}

func TestDecodingIsBoundedInMemory(t *testing.T) {
	w := newWorld(t, Options{DecodeBytes: 1 << 20}) // one image of 256 Ki pixels at a time
	var now, most atomic.Int32
	inner := testModel("sha256:slow")
	slow := *inner
	slow.predict = func(img image.Image) ([]float32, []float32, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		time.Sleep(5 * time.Millisecond)
		return inner.predict(img)
	}
	w.install(&slow)
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 600, 600)), nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := w.Predict(context.Background(), photo.Bytes(), "a.jpg"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d images of 1.4 MB were decoded at once within 1 MiB", most.Load())
	}
	full := newWorld(t, Options{DecodeBytes: 1})
	if !full.decode.TryAcquire(1) {
		t.Fatal("no room")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := full.Predict(ctx, upload(t, 1), ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request that waits for room does not end with its context: %v", err)
	}
}

func TestUUIDsAreVersion4AndDiffer(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	var all []string
	for range 1000 {
		u := newUUID()
		if !form.MatchString(u) {
			t.Fatalf("%q", u)
		}
		all = append(all, u)
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != 1000 {
		t.Errorf("%d distinct of 1000", n)
	}
}

func TestOptionsReportEveryFault(t *testing.T) {
	err := Options{SpoolItems: -1, SpoolBytes: -1, Uploaders: -1, DecodeBytes: -1, UploadTimeout: -1, MaxBackoff: -1, FeatureFlush: -1}.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{"dir", "spool_items -1", "spool_bytes -1", "uploaders -1", "decode_bytes -1", "upload_timeout -1ns", "max_backoff -1ns", "feature_flush -1ns"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := New(Options{}, nil, nil, (&world{}).buckets); err == nil {
		t.Error("New takes bad options")
	}
}

func BenchmarkPredictAndCapture(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := newWorld(b, Options{SpoolItems: 1 << 30})
			stop := w.running()
			body := upload(b, 1)
			b.SetParallelism((callers + 1) / 2)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := w.Predict(context.Background(), body, "a.png"); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acknowledged/s")
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := w.Drain(ctx); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stored/s")
			stop()
		})
	}
}

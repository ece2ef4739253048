package serving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

func TestFullSpoolRefusesAndDropsNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"by items", Options{SpoolItems: 5}},
		{"by bytes", Options{SpoolBytes: 2000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, d := behindDoor(t, tt.o)
			stop := w.running()
			var acknowledged []string
			for range 100 {
				p, err := w.Predict(t.Context(), upload(t, 1), "a.png")
				if err != nil {
					if !errors.Is(err, dg.ErrFull) {
						t.Errorf("error %v, want full", err)
					}
					break
				}
				acknowledged = append(acknowledged, p.Key)
			}
			items, size := w.Spooled()
			if len(acknowledged) == 0 || len(acknowledged) == 100 || items != len(acknowledged) || (tt.o.SpoolBytes > 0 && size > tt.o.SpoolBytes) {
				t.Fatalf("%d acknowledged, %d spooled, %d bytes", len(acknowledged), items, size)
			}
			files, err := filepath.Glob(filepath.Join(w.o.Dir, "*"))
			if err != nil || len(files) != items {
				t.Errorf("%d files for %d items: %v", len(files), items, err)
			}
			d.set(true)
			w.drain()
			if _, err := w.Predict(t.Context(), upload(t, 1), "a.png"); err != nil {
				t.Errorf("no room after the spool has drained: %v", err)
			}
			w.drain()
			stop()
			stored := w.production()
			for _, key := range acknowledged {
				if !stored[key] {
					t.Errorf("%s is lost", key)
				}
			}
			if len(stored) != len(acknowledged)+1 {
				t.Errorf("%d objects for %d predictions", len(stored), len(acknowledged)+1)
			}
			if items, size := w.Spooled(); items != 0 || size != 0 {
				t.Errorf("an empty spool counts %d items, %d bytes", items, size)
			}
		})
	}
}

func TestStoreGoneForAWhileLosesNothing(t *testing.T) {
	w, d := behindDoor(t, Options{})
	stop := w.running()
	keys := map[string]bool{}
	for range 20 { // no store at first
		keys[w.predict(1, "a.png").Key] = true
	}
	d.set(true)
	w.drain()
	d.set(false)
	for range 20 { // gone again
		keys[w.predict(2, "a.png").Key] = true
	}
	for _, key := range []string{w.predict(3, "b.png").Key} { // an image waiting in the spool can be looked at
		keys[key] = true
		if b, kind, err := w.Image(t.Context(), key); err != nil || kind != "image/png" || !bytes.Equal(b, upload(t, 3)) {
			t.Errorf("Image: %d bytes of %s, %v", len(b), kind, err)
		}
	}
	d.set(true)
	w.drain()
	stop()
	if stored := w.production(); !maps.Equal(stored, keys) {
		t.Errorf("%d objects for %d predictions", len(stored), len(keys))
	}
	if n := counter(t, w.metrics.uploads.WithLabelValues(uploadError)); n == 0 {
		t.Error("no failed attempt was counted")
	}
}

func TestLedgerGoneForAWhileLosesNothing(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	w := newWorldWith(t, Options{}, func(s ObjectStore) ObjectStore { return s },
		func(l Ledger) Ledger { return failingBooks{l, broken.Load} })
	w.running()
	var keys []string
	for i := range 10 {
		keys = append(keys, w.predict(i, "").Key)
	}
	time.Sleep(100 * time.Millisecond)
	if items, _ := w.Spooled(); items != 10 {
		t.Errorf("%d items on the spool while the ledger takes none", items)
	}
	broken.Store(false)
	w.drain()
	for _, key := range keys {
		if r, err := w.ledger.Record(t.Context(), filepath.Base(key)); err != nil || !r.InProduction {
			t.Errorf("%s: %+v, %v", key, r, err)
		}
	}
}

// TestLostReplyOverwritesNothing: the put is done but its reply is lost; before
// it is repeated the user flags, and that must reach the object.
func TestLostReplyOverwritesNothing(t *testing.T) {
	var puts atomic.Int32
	repeat := make(chan struct{})
	lose := func(s ObjectStore) ObjectStore {
		return failing{s, func(put func() (string, error)) (string, error) {
			etag, err := put()
			if puts.Add(1) == 1 {
				return "", errors.New("connection reset")
			}
			<-repeat
			return etag, err
		}}
	}
	w := newWorldWith(t, Options{Uploaders: 1}, lose, func(l Ledger) Ledger { return l })
	p := w.predict(4, "a.png")
	stop := w.running()
	for puts.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	// The flag comes between the attempts; the first worker's pause is at least 50 ms.
	if err := w.Flag(t.Context(), p.Key); err != nil {
		t.Fatal(err)
	}
	if puts.Load() != 1 {
		t.Skip("the machine is too slow to come between the attempts")
	}
	close(repeat)
	w.drain()
	stop()
	if tags := w.tags(w.buckets.Production, p.Key); tags[dg.TagFlagged] != "true" || tags[dg.TagConfidence] != "0.700" {
		t.Errorf("tags %v", tags)
	}
	if stored := w.production(); len(stored) != 1 {
		t.Errorf("%d objects", len(stored))
	}
}

func TestWhatTheStoreCallsInvalidIsSetAside(t *testing.T) {
	log, said := testLog(t)
	var puts atomic.Int32
	refuse := func(s ObjectStore) ObjectStore {
		return failing{s, func(put func() (string, error)) (string, error) {
			if puts.Add(1) == 1 {
				return "", fmt.Errorf("bad tag: %w", dg.ErrInvalid)
			}
			return put()
		}}
	}
	w := newWorldWith(t, Options{Logger: log, Uploaders: 1}, refuse, func(l Ledger) Ledger { return l })
	first, second := w.predict(1, ""), w.predict(2, "")
	stop := w.running()
	w.drain()
	stop()
	if stored := w.production(); !stored[second.Key] || len(stored) != 1 {
		t.Errorf("stored %v", stored)
	}
	b, err := os.ReadFile(filepath.Join(w.o.Dir, refusedFolder, filepath.Base(first.Key)+recordSuffix))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeRecord(b); err != nil || r.Key != first.Key {
		t.Errorf("set aside: %+v, %v", r, err)
	}
	if !strings.Contains(said.String(), "set aside") {
		t.Errorf("log says %q", said)
	}
}

func TestTornRecordsAreSetAsideAndGoodOnesKept(t *testing.T) {
	w := newWorld(t, Options{})
	p := w.predict(1, "a.png")
	good, err := os.ReadFile(recordPath(w.o.Dir, filepath.Base(p.Key)))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	torn := map[string][]byte{"empty": nil, "short": good[:10], "header": good[:40], "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0),
		"zeros": make([]byte, len(good)), "flipped": flipped, "text": []byte("hello")}
	for name, b := range torn {
		if err := os.WriteFile(recordPath(w.o.Dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(recordPath(w.o.Dir, "edit")+tempSuffix, good[:20], 0o600); err != nil {
		t.Fatal(err)
	}
	log, said := testLog(t)
	s, err := New(Options{Dir: w.o.Dir, Logger: log}, w.store, w.ledger, w.buckets)
	if err != nil {
		t.Fatal(err)
	}
	if items, size := s.Spooled(); items != 1 || size != int64(len(good)) {
		t.Errorf("%d items, %d bytes", items, size)
	}
	for name := range torn {
		if _, err := os.Stat(recordPath(filepath.Join(w.o.Dir, tornFolder), name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := strings.Count(said.String(), "set aside"); n != len(torn) {
		t.Errorf("%d log lines for %d torn records", n, len(torn))
	}
	if left, err := filepath.Glob(filepath.Join(w.o.Dir, "*"+tempSuffix)); err != nil || len(left) != 0 {
		t.Errorf("left %v: %v", left, err)
	}
}

func TestEditOfASpooledPredictionSurvivesARestart(t *testing.T) {
	w, _ := behindDoor(t, Options{})
	p := w.predict(1, "a.png")
	if err := w.Flag(t.Context(), p.Key); err != nil {
		t.Fatal(err)
	}
	if err := w.Correct(t.Context(), p.Key, "Ankle boot"); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Dir: w.o.Dir}, w.store, w.ledger, w.buckets)
	if err != nil {
		t.Fatal(err)
	}
	next := &world{Service: s, t: t, store: w.store, ledger: w.ledger, buckets: w.buckets}
	next.running()
	next.drain()
	if tags := next.tags(w.buckets.Production, p.Key); tags[dg.TagFlagged] != "true" || tags[dg.TagCorrectedClass] != "Ankle boot" || tags[dg.TagPredictedClass] != "Trouser" {
		t.Errorf("tags %v", tags)
	}
	if r, err := w.ledger.Record(t.Context(), filepath.Base(p.Key)); err != nil || !r.Flagged || r.CorrectedClass != "Ankle boot" {
		t.Errorf("ledger has %+v: %v", r, err)
	}
}

// TestEditsLoseNoTag flags and corrects many predictions at once, in the
// spool, while they are uploaded, and in the bucket.
func TestEditsLoseNoTag(t *testing.T) {
	w := newWorld(t, Options{Uploaders: 3})
	var keys []string
	for i := range 20 {
		keys = append(keys, w.predict(i%10, "a.png").Key)
	}
	w.running()
	var wg sync.WaitGroup
	for i, key := range keys {
		for range 2 {
			wg.Go(func() {
				if err := w.Flag(context.Background(), key); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			for _, class := range []string{"Bag", "Coat", dg.FashionMNIST[i%10]} {
				if err := w.Correct(context.Background(), key, class); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	w.drain()
	for i, key := range keys {
		want := map[string]string{"predicted_class": dg.FashionMNIST[i%10], "confidence": "0.700", "timestamp": "2026-03-01T12:00:00Z",
			"model_version": "0123456789ab", "flagged": "true", "corrected_class": dg.FashionMNIST[i%10]}
		if got := w.tags(w.buckets.Production, key); !maps.Equal(got, want) {
			t.Errorf("%s has %v, want %v", key, got, want)
		}
		if r, err := w.ledger.Record(t.Context(), filepath.Base(key)); err != nil || !r.Flagged || r.CorrectedClass != dg.FashionMNIST[i%10] {
			t.Errorf("ledger has %+v: %v", r, err)
		}
	}
}

func TestEditsOfWhatIsNotThereAreRefused(t *testing.T) {
	w := newWorld(t, Options{})
	w.running()
	p := w.predict(1, "")
	for _, key := range []string{"", "x", "class_01/none", "class_01/a/b", "../class_01/x", "class_01/..", strings.Repeat("x", 2000)} {
		if err := w.Flag(t.Context(), key); !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("Flag(%q): %v", key, err)
		}
		if err := w.Correct(t.Context(), key, "Bag"); !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("Correct(%q): %v", key, err)
		}
		if _, _, err := w.Image(t.Context(), key); !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("Image(%q): %v", key, err)
		}
	}
	if err := w.Correct(t.Context(), p.Key, "Banana"); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "Ankle boot") {
		t.Errorf("Correct to a banana: %v", err)
	}
}

func TestEditOfAForeignObjectThatIsNotComplete(t *testing.T) {
	w := newWorld(t, Options{})
	key := "class_01/foreign.jpg"
	if _, err := w.store.Put(t.Context(), w.buckets.Production, key, []byte("x"), objstore.PutOptions{Tags: map[string]string{"origin": "elsewhere"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flag(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if tags := w.tags(w.buckets.Production, key); tags["origin"] != "elsewhere" || tags["flagged"] != "true" {
		t.Errorf("tags %v", tags)
	}
}

func FuzzRecord(f *testing.F) {
	b, err := record{Key: "class_01/x", Tags: map[string]string{"a": "b"}, Body: []byte("image")}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(recordMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			if !errors.Is(err, errTorn) {
				t.Errorf("%v is not torn", err)
			}
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if r2, err := decodeRecord(again); err != nil || r2.Key != r.Key || !bytes.Equal(r2.Body, r.Body) || !maps.Equal(r2.Tags, r.Tags) {
			t.Errorf("%+v became %+v: %v", r, r2, err)
		}
	})
}

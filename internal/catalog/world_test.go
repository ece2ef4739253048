package catalog

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var server struct {
	once  sync.Once
	store *objstore.Store // one for all tests
	err   error
	dir   string
	n     int
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.dir != "" {
		_ = os.RemoveAll(server.dir) // the server ends with the process
	}
	os.Exit(code)
}

func startStore() (*objstore.Store, error) {
	var err error
	if server.dir, err = os.MkdirTemp("", "driftgate-catalog"); err != nil {
		return nil, err
	}
	s, err := embedded.Start(context.Background(), embedded.Options{Dir: server.dir})
	if err != nil {
		return nil, err
	}
	access, secret := s.Credentials()
	return objstore.Open(objstore.Options{Endpoint: s.Endpoint(), AccessKey: access, SecretKey: secret})
}

// world is a set of buckets and a ledger beside them.
type world struct {
	t       *testing.T
	store   *objstore.Store
	ledger  *ledger.Ledger
	buckets objstore.Buckets
	now     time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server.once.Do(func() { server.store, server.err = startStore() })
	must(t, server.err)
	server.n++
	w := &world{t: t, store: server.store, buckets: objstore.DefaultBuckets(fmt.Sprintf("c%d-", server.n)), ledger: openLedger(t), now: noon}
	must(t, w.store.EnsureBuckets(t.Context(), w.buckets.All()...))
	return w
}

func openLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) options() Options {
	return Options{Now: func() time.Time { return w.now }, Classes: func() dg.Classes { return dg.FashionMNIST }}
}

func (w *world) put(bucket, key string, tags map[string]string) {
	w.t.Helper()
	_, err := w.store.Put(w.t.Context(), bucket, key, []byte(key), objstore.PutOptions{Tags: tags})
	must(w.t, err)
}

func (w *world) tag(bucket, key string, more map[string]string) {
	w.t.Helper()
	must(w.t, w.store.UpdateTags(w.t.Context(), bucket, key, func(tags map[string]string) error {
		maps.Copy(tags, more)
		return nil
	}))
}

func (w *world) record(id string) ledger.Record {
	w.t.Helper()
	r, err := w.ledger.Record(w.t.Context(), id)
	must(w.t, err)
	return r
}

// old are the tags that the systems before driftgate write: class 3 predicted.
func old(minutes int, more ...string) map[string]string {
	tags := map[string]string{"predicted_class": "Dress", "confidence": "0.950", "timestamp": noon.Add(-time.Duration(minutes) * time.Minute).Format(dg.TimeFormat)}
	for i := 0; i < len(more); i += 2 {
		tags[more[i]] = more[i+1]
	}
	return tags
}

func reconcile(t *testing.T, c *Catalog) Report {
	t.Helper()
	r, err := c.Reconcile(t.Context())
	must(t, err)
	return r
}

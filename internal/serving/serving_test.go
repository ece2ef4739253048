package serving

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

var server struct {
	once sync.Once
	*embedded.Server
	store *objstore.Store // one for all tests: each keeps connections open
	err   error
	dir   string
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		captureForEver()
		return
	}
	code := m.Run()
	if server.dir != "" {
		_ = os.RemoveAll(server.dir) // the server ends with the process
	}
	os.Exit(code)
}

// endpoint starts the one embedded server of this test process.
func endpoint(t testing.TB) objstore.Options {
	t.Helper()
	server.once.Do(func() {
		if server.dir, server.err = os.MkdirTemp("", "driftgate-serving"); server.err == nil {
			server.Server, server.err = embedded.Start(context.Background(), embedded.Options{Dir: server.dir})
		}
		if server.err == nil {
			server.store, server.err = objstore.Open(reach())
		}
	})
	if server.err != nil {
		t.Fatal(server.err)
	}
	return reach()
}

func reach() objstore.Options {
	access, secret := server.Credentials()
	return objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: secret}
}

// world is a service with its real neighbours.
type world struct {
	*Service
	t       testing.TB
	store   *objstore.Store
	ledger  *ledger.Ledger
	buckets objstore.Buckets
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 987654321, time.UTC)

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	return newWorldWith(t, o, func(s ObjectStore) ObjectStore { return s }, func(l Ledger) Ledger { return l })
}

// newWorldWith lets a test come between the service and its neighbours.
func newWorldWith(t testing.TB, o Options, store func(ObjectStore) ObjectStore, books func(Ledger) Ledger) *world {
	t.Helper()
	dir := t.TempDir()
	endpoint(t)
	st := server.store
	b := objstore.DefaultBuckets(fmt.Sprintf("t%d-", time.Now().UnixNano()))
	if err := st.EnsureBuckets(t.Context(), b.All()...); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if o.Dir == "" {
		o.Dir = filepath.Join(dir, "spool")
	}
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 200 * time.Millisecond
	}
	s, err := New(o, store(st), books(l), b)
	if err != nil {
		t.Fatal(err)
	}
	s.install(testModel("sha256:0123456789abcdef"))
	return &world{Service: s, t: t, store: st, ledger: l, buckets: b}
}

// testModel answers with the class whose number the upper left pixel says, at
// 0.69951.
func testModel(ref dg.ModelRef) *model {
	classes := dg.FashionMNIST
	return &model{classes: classes, ref: ref, sketch: sketchOf(ref, 3), predict: func(img image.Image) ([]float32, []float32, error) {
		r, _, _, _ := img.At(0, 0).RGBA()
		p := make([]float32, len(classes))
		for i := range p {
			p[i] = (1 - 0.69951) / float32(len(p)-1)
		}
		p[int(r>>8)%len(p)] = 0.69951
		return p, testFeatures(int(r >> 8)), nil
	}}
}

// testFeatures are what testModel sees of an image of a class.
func testFeatures(class int) []float32 { return []float32{1, float32(class), 0} }

// upload is a small image that testModel takes for class.
func upload(t testing.TB, class int) []byte {
	t.Helper()
	px := make([]byte, 28*28)
	px[0] = byte(class)
	b, err := dataset.EncodePNG(px, 28, 28, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// running runs the uploader until the test, or the returned stop, ends it.
func (w *world) running() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *world) drain() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.Drain(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) predict(class int, filename string) Prediction {
	w.t.Helper()
	p, err := w.Predict(context.Background(), upload(w.t, class), filename)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) tags(bucket, key string) map[string]string {
	w.t.Helper()
	tags, err := w.store.Tags(context.Background(), bucket, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return tags
}

// production lists the keys of the production bucket.
func (w *world) production() map[string]bool {
	w.t.Helper()
	keys, err := w.store.Bucket(w.buckets.Production).Keys(context.Background(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]bool{}
	for _, k := range keys {
		out[k] = true
	}
	return out
}

// door is a port that lets connections through to the store only while open.
type door struct {
	net.Listener
	to    string
	mu    sync.Mutex
	open  bool
	conns []net.Conn
}

func newDoor(t testing.TB, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: l, to: strings.TrimPrefix(to, "http://")}
	go d.serve()
	t.Cleanup(func() { _ = l.Close(); d.set(false) })
	return d
}

func (d *door) serve() {
	for {
		in, err := d.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		if !d.open {
			d.mu.Unlock()
			_ = in.Close()
			continue
		}
		out, err := net.Dial("tcp", d.to)
		if err == nil {
			d.conns = append(d.conns, in, out)
		}
		d.mu.Unlock()
		if err != nil {
			_ = in.Close()
			continue
		}
		go pipe(in, out)
		go pipe(out, in)
	}
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

// set opens the door, or closes it and breaks every connection.
func (d *door) set(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = open
	if !open {
		for _, c := range d.conns {
			_ = c.Close()
		}
		d.conns = nil
	}
}

// behindDoor makes a service whose store is reached through a door.
func behindDoor(t testing.TB, o Options) (*world, *door) {
	t.Helper()
	reach := endpoint(t)
	d := newDoor(t, reach.Endpoint)
	reach.Endpoint = "http://" + d.Addr().String()
	st, err := objstore.Open(reach)
	if err != nil {
		t.Fatal(err)
	}
	return newWorldWith(t, o, func(ObjectStore) ObjectStore { return st }, func(l Ledger) Ledger { return l }), d
}

// failing fails some calls of the store on purpose.
type failing struct {
	ObjectStore
	put func(put func() (string, error)) (string, error)
}

func (f failing) Put(ctx context.Context, bucket, key string, body []byte, o objstore.PutOptions) (string, error) {
	return f.put(func() (string, error) { return f.ObjectStore.Put(ctx, bucket, key, body, o) })
}

// failingBooks fails the ledger's writes while broken says so.
type failingBooks struct {
	Ledger
	broken func() bool
}

func (f failingBooks) PutFeatures(ctx context.Context, c ledger.FeatureCell, merge func([]byte) ([]byte, error)) error {
	if f.broken() {
		return errors.New("database is locked")
	}
	return f.Ledger.PutFeatures(ctx, c, merge)
}

func (f failingBooks) Captured(ctx context.Context, samples ...dg.Sample) error {
	if f.broken() {
		return errors.New("database is locked")
	}
	return f.Ledger.Captured(ctx, samples...)
}

func testLog(t testing.TB) (*slog.Logger, *strings.Builder) {
	t.Helper()
	var b strings.Builder
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

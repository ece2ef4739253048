// Package serving answers what is on an image and keeps every answer.
//
// A prediction is acknowledged only after its image and tags are durable in
// the spool, a folder on the local disk; from there they are uploaded to the
// production bucket, object and tags in one put, and retried for ever. Neither
// kill -9 nor an object store that is gone for a while loses an acknowledged
// prediction or stores one twice. A full spool refuses with
// [driftgate.ErrFull]; nothing is dropped silently.
//
// Beside each prediction, what the penultimate layer saw is added to a sum by
// model version and ten minutes of event time, for the test of input drift.
//
// The model is replaced by one pointer swap: requests under way finish on the
// old one. A challenger may answer beside it, in the shadow or as a canary. What is stored carries no metadata of the upload (no EXIF, no GPS).
//
// It does not speak HTTP, chooses no model and never deletes from the bucket.
package serving

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/telemetry"
)

// Options bound what uploads may cost and say where the spool is. Zero fields
// mean the default.
type Options struct {
	Dir           string         // the spool's folder; required, owned by one process
	Limits        dataset.Limits // of an upload; default dataset.DefaultLimits
	DecodeBytes   int64          // memory for decoded images at any one time; default 400 MiB
	SpoolItems    int            // predictions that may wait for the store; default 10,000
	SpoolBytes    int64          // bytes of their records; default 1 GiB
	Uploaders     int            // uploads at once; default 8
	UploadTimeout time.Duration  // of one attempt; default 30 s
	MaxBackoff    time.Duration  // longest pause after failed attempts; default 5 s
	FeatureFlush  time.Duration  // how long sums of features wait for the ledger, and what kill -9 costs of them; default 5 s

	Now        func() time.Time // for the timestamp tag; default time.Now
	Tracer     *telemetry.Tracer
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not exported
}

// Validate reports every fault at once, as [driftgate.ErrInvalid].
func (o Options) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format+": %w", append(args, dg.ErrInvalid)...))
		}
	}
	want(o.Dir != "", "spool dir: want a folder")
	want(o.SpoolItems >= 0, "spool_items %d: want at least 1", o.SpoolItems)
	want(o.SpoolBytes >= 0, "spool_bytes %d: want at least 1", o.SpoolBytes)
	want(o.Uploaders >= 0, "uploaders %d: want at least 1", o.Uploaders)
	want(o.DecodeBytes >= 0, "decode_bytes %d: want at least 1", o.DecodeBytes)
	want(o.UploadTimeout >= 0, "upload_timeout %s: want more than 0s", o.UploadTimeout)
	want(o.MaxBackoff >= 0, "max_backoff %s: want more than 0s", o.MaxBackoff)
	want(o.FeatureFlush >= 0, "feature_flush %s: want more than 0s", o.FeatureFlush)
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	o.DecodeBytes = orDefault(o.DecodeBytes, 400<<20)
	o.SpoolItems = orDefault(o.SpoolItems, 10_000)
	o.SpoolBytes = orDefault(o.SpoolBytes, 1<<30)
	o.Uploaders = orDefault(o.Uploaders, max(8, 2*runtime.GOMAXPROCS(0)))
	o.UploadTimeout = orDefault(o.UploadTimeout, 30*time.Second)
	o.MaxBackoff = orDefault(o.MaxBackoff, 5*time.Second)
	o.FeatureFlush = orDefault(o.FeatureFlush, 5*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("component", "serving")
	return o
}

func orDefault[T int | int64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// ObjectStore is all that serving asks of the object store; [objstore.Store]
// says what each method promises.
type ObjectStore interface {
	Put(ctx context.Context, bucket, key string, body []byte, o objstore.PutOptions) (etag string, err error)
	Get(ctx context.Context, bucket, key string) ([]byte, objstore.Object, error)
	Stat(ctx context.Context, bucket, key string) (objstore.Object, error)
	UpdateTags(ctx context.Context, bucket, key string, edit func(tags map[string]string) error) error
}

// Ledger is all that serving asks of the ledger; [ledger.Ledger] says what
// each method promises.
type Ledger interface {
	Captured(ctx context.Context, samples ...dg.Sample) error
	Record(ctx context.Context, id string) (ledger.Record, error)
	PutFeatures(ctx context.Context, c ledger.FeatureCell, merge func(old []byte) ([]byte, error)) error
}

// Service predicts and captures. It is safe for concurrent use.
type Service struct {
	o        Options
	store    ObjectStore
	ledger   Ledger
	buckets  objstore.Buckets
	spool    *spool
	features *features
	metrics  *metrics
	decode   *semaphore.Weighted // bytes of decoded images
	swap     sync.Mutex
	model    atomic.Pointer[model] // written under swap
	exposed  atomic.Pointer[challenger]
	shadows  chan shadowed
	shadowed atomic.Int64               // bytes that wait in shadows
	faulty   atomic.Pointer[challenger] // the last one that had no answer, logged once
}

// model is what a request needs of a classifier, fixed while the request runs.
type model struct {
	predict func(image.Image) (probabilities, features []float32, err error)
	sketch  *estimate.Sketch // of its features; nil: it has none
	classes dg.Classes
	ref     dg.ModelRef
}

// New opens the spool and takes up what an earlier process left in it. It
// uploads nothing yet: see [Service.Run].
func New(o Options, store ObjectStore, l Ledger, b objstore.Buckets) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("serving: %w", err)
	}
	o = o.withDefaults()
	sp, err := openSpool(o.Dir, o.SpoolItems, o.SpoolBytes, o.Logger)
	if err != nil {
		return nil, err
	}
	m := newMetrics(o.Registerer, sp)
	return &Service{
		o: o, store: store, ledger: l, buckets: b, spool: sp,
		features: newFeatures(l, func(n int) { m.featuresLost.Add(float64(n)) }),
		metrics:  m,
		decode:   semaphore.NewWeighted(o.DecodeBytes),
		shadows:  make(chan shadowed, shadowQueue),
	}, nil
}

// Swap makes c, the artifact named ref, answer from the next request on. c has
// passed its self-test, or it would not exist; requests under way finish on
// the model that they began with.
func (s *Service) Swap(c *network.Classifier, ref dg.ModelRef) {
	s.install(&model{predict: c.PredictFeatures, sketch: sketchOf(ref, c.Features()), classes: c.Manifest().Classes, ref: ref})
}

func (s *Service) install(m *model) {
	s.swap.Lock()
	defer s.swap.Unlock()
	old := s.model.Swap(m)
	s.metrics.swapped(old, m)
	s.metrics.forget(s.kept())
}

// Version names the model that answers now; empty when none is loaded.
func (s *Service) Version() dg.ModelRef {
	if m := s.model.Load(); m != nil {
		return m.ref
	}
	return ""
}

// Classes is the class list of the model that answers now; nil when none is
// loaded. Treat it as read-only.
func (s *Service) Classes() dg.Classes {
	if m := s.model.Load(); m != nil {
		return m.classes
	}
	return nil
}

// Spooled returns how many predictions wait for the store, and the bytes of
// their records.
func (s *Service) Spooled() (items int, bytes int64) { return s.spool.size() }

// maxExtension bounds the extension that a key takes over from an upload's
// file name, without its dot.
const maxExtension = 10

// extension returns the extension of an upload's file name, dot included and
// case kept; empty when it has none or one that does not belong into a key.
func extension(filename string) string {
	ext := path.Ext(strings.ReplaceAll(filename, `\`, "/"))
	if len(ext) < 2 || len(ext) > 1+maxExtension {
		return ""
	}
	for _, c := range []byte(ext[1:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return ""
		}
	}
	return ext
}

// contentTypes are the types by extension that docs/interop.md asks for. The
// system's own tables differ between machines.
var contentTypes = map[string]string{
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg",
	".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp",
	".tif": "image/tiff", ".tiff": "image/tiff",
}

func contentType(key string) string {
	if t, ok := contentTypes[strings.ToLower(path.Ext(key))]; ok {
		return t
	}
	return "application/octet-stream"
}

// newUUID returns a random (version 4) UUID, RFC 9562.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Package catalog keeps the ledger in step with the buckets: it takes up what
// foreign writers put there, and can rebuild the ledger from nothing else.
//
// The buckets are the truth. An object that is not complete yet (foreign
// writers put first and tag second) is left for a later pass and never lost; a
// malformed one is counted, logged with its key and skipped, and fails no pass.
// Nothing is ever written to a bucket.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// Options configure a catalog. Fields left zero take the default given beside
// them.
type Options struct {
	Classes    func() dg.Classes     // the class list behind the directories of clean; nil or empty: learned from production
	Step       time.Duration         // length of a curate interval; 30m
	TagsEvery  time.Duration         // how often the tags of known objects are read again, for flags set by foreign hands; 10m, below 0 every time
	Now        func() time.Time      // time.Now
	Logger     *slog.Logger          // discards
	Registerer prometheus.Registerer // none
}

// Store is all the catalog asks of the object store.
type Store interface {
	List(ctx context.Context, bucket, prefix string, withTags bool) iter.Seq2[objstore.Object, error]
	Tags(ctx context.Context, bucket, key string) (map[string]string, error)
}

// Catalog moves knowledge from buckets to ledger. It is safe for concurrent
// use; passes run one at a time.
type Catalog struct {
	store   Store
	ledger  *ledger.Ledger
	buckets objstore.Buckets
	o       Options
	objects *prometheus.CounterVec

	mu       sync.Mutex     // one pass at a time
	tagsRead time.Time      // when all tags were read last
	learned  map[int]string // class directory -> label, as production shows it; empty label: contradictory
	logged   map[string]bool
}

// New returns a catalog over the buckets b of store.
func New(store *objstore.Store, l *ledger.Ledger, b objstore.Buckets, o Options) *Catalog {
	return newCatalog(store, l, b, o)
}

func newCatalog(store Store, l *ledger.Ledger, b objstore.Buckets, o Options) *Catalog {
	if o.Classes == nil {
		o.Classes = func() dg.Classes { return nil }
	}
	if o.Step <= 0 {
		o.Step = 30 * time.Minute
	}
	if o.TagsEvery == 0 {
		o.TagsEvery = 10 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Catalog{store: store, ledger: l, buckets: b, o: o, learned: map[int]string{}, logged: map[string]bool{}}
	c.o.Logger = o.Logger.With("component", "catalog")
	c.objects = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "driftgate_catalog_objects_total",
		Help: "Objects that reconcile looked at because the ledger did not know them so, by bucket and result.",
	}, []string{"bucket", "result"})
	for _, bucket := range []string{inProduction, inClean} {
		for _, r := range results {
			c.objects.WithLabelValues(bucket, r)
		}
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(c.objects)
	}
	return c
}

// The values of the labels `bucket` and `result`.
const (
	inProduction = "production"
	inClean      = "clean"

	isNew        = "new"        // entered
	isChanged    = "changed"    // flag, correction or label taken over
	isIncomplete = "incomplete" // no timestamp yet: left for later
	isMalformed  = "malformed"  // skipped
	isClassless  = "classless"  // in a class directory whose label is not known: left for later
)

var results = []string{isNew, isChanged, isIncomplete, isMalformed, isClassless}

// BucketReport counts one bucket's objects in one pass.
type BucketReport struct {
	Listed     int `json:"listed"`
	New        int `json:"new"`     // entered into the ledger
	Changed    int `json:"changed"` // known, with news
	Incomplete int `json:"incomplete"`
	Malformed  int `json:"malformed"`
	Classless  int `json:"classless"` // clean only: the label of the directory is not known
}

// Report says what a pass found. Problems names the first malformed objects.
type Report struct {
	Production BucketReport `json:"production"`
	Waiting    BucketReport `json:"waiting"` // rebuild only
	Noisy      BucketReport `json:"noisy"`   // rebuild only
	Clean      BucketReport `json:"clean"`
	Samples    int          `json:"samples,omitempty"` // rebuild only: rows written
	Problems   []string     `json:"problems,omitempty"`
}

const maxProblems = 20

// faulty counts an object that cannot be entered.
func (c *Catalog) faulty(r *Report, b *BucketReport, bucket, key string, err error) {
	if errors.Is(err, dg.ErrIncomplete) {
		b.Incomplete++
		c.objects.WithLabelValues(bucket, isIncomplete).Inc()
		return
	}
	b.Malformed++
	c.objects.WithLabelValues(bucket, isMalformed).Inc()
	c.problem(r, bucket, key, err)
}

func (c *Catalog) problem(r *Report, bucket, key string, err error) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", bucket, err))
	}
	if id := bucket + "\x00" + key + "\x00" + err.Error(); !c.logged[id] { // once, not at every pass
		if len(c.logged) > 10_000 {
			clear(c.logged)
		}
		c.logged[id] = true
		c.o.Logger.Warn("object skipped", "bucket", bucket, "key", key, "err", err)
	}
}

// learn remembers which label production shows for a class directory.
func (c *Catalog) learn(key, predicted string) {
	n, _, err := dg.ParseKey(key)
	if err != nil || predicted == "" {
		return
	}
	if label, ok := c.learned[n]; ok && label != predicted {
		predicted = "" // two models with different class lists: no telling
	}
	c.learned[n] = predicted
}

// label is the label of a class directory; the error is [dg.ErrInvalid] for a
// number that the class list does not have, and [dg.ErrIncomplete] while
// nobody has said what it means.
func (c *Catalog) label(n int) (string, error) {
	if classes := c.o.Classes(); len(classes) > 0 {
		return classes.Label(n)
	}
	if label := c.learned[n]; label != "" {
		return label, nil
	}
	return "", fmt.Errorf("class directory %02d: its label is not known, configure the class list: %w", n, dg.ErrIncomplete)
}

// interval is the start of the curate interval of a sample that was curated.
func (c *Catalog) interval(s dg.Sample) time.Time {
	if s.Stratum == "" {
		return time.Time{}
	}
	return dg.Slot(s.Timestamp, c.o.Step).Start
}

// foreignLabel reads what an object of clean says; the error is also
// [dg.ErrIncomplete] when the label of its directory is not known.
func (c *Catalog) foreignLabel(o objstore.Object) (f ledger.ForeignLabel, known bool, err error) {
	s, err := dg.ParseSample(o.Key, o.Tags)
	if err != nil {
		return f, true, err
	}
	if s.LabelledAt.IsZero() {
		s.LabelledAt = o.Modified
	}
	n, _, err := dg.ParseKey(o.Key)
	if err != nil {
		return f, true, err
	}
	label, err := c.label(n)
	if err != nil {
		return f, !errors.Is(err, dg.ErrIncomplete), fmt.Errorf("sample %s: %w", o.Key, err)
	}
	return ledger.ForeignLabel{Sample: s, Label: label, Interval: c.interval(s)}, true, nil
}

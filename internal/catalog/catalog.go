// Package catalog keeps the ledger in step with the buckets: it takes up what
// foreign writers put there, and can rebuild the ledger from nothing else.
//
// The buckets are the truth. What they show of a sample makes its record, by
// one pure function; news are weighed by it one by one, a rebuild applies it to
// everything, and both end at the same. An object that is not complete yet
// (foreign writers put first and tag second) is left for a later pass and never
// lost; a malformed one is counted, logged with its key and skipped, and fails
// no pass. An object that is gone takes back what it said: a label, or the
// prediction's place in the counts. What a prediction was, once entered, no
// edited tag rewrites; only a rebuild takes the buckets' word for it.
//
// A pass holds a page of a listing in memory, never a bucket. Nothing is ever
// written to a bucket.
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
	TagsEvery  time.Duration         // how often the tags of known objects are read again, for edits by foreign hands; 10m, below 0 every time
	TagsAtOnce int                   // where listings bring no tags: how many known objects a reading again asks for, in rotation; 5000
	Now        func() time.Time      // time.Now
	Logger     *slog.Logger          // discards
	Registerer prometheus.Registerer // none
}

// Store is all the catalog asks of the object store.
type Store interface {
	List(ctx context.Context, bucket, prefix string, withTags bool) iter.Seq2[objstore.Object, error]
	ListCheap(ctx context.Context, bucket, prefix string) iter.Seq2[objstore.Object, error]
	Tags(ctx context.Context, bucket, key string) (map[string]string, error)
	Stat(ctx context.Context, bucket, key string) (objstore.Object, error)
}

// Catalog moves knowledge from buckets to ledger. It is safe for concurrent
// use; passes run one at a time.
type Catalog struct {
	store   Store
	ledger  *ledger.Ledger
	buckets objstore.Buckets
	o       Options
	metrics metrics

	mu        sync.Mutex        // one pass at a time
	tagsRead  time.Time         // when known tags were read again last
	read      map[string]string // bucket -> key up to which the present rotation has read tags
	learned   map[int]string    // class directory -> label, as production shows it; empty label: contradictory
	relearned bool              // the ledger's samples have been asked for it
	logged    map[string]bool
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
	if o.TagsAtOnce <= 0 {
		o.TagsAtOnce = 5000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Catalog{store: store, ledger: l, buckets: b, o: withComponent(o), metrics: newMetrics(o.Registerer),
		read: map[string]string{}, learned: map[int]string{}, logged: map[string]bool{}}
}

func withComponent(o Options) Options {
	o.Logger = o.Logger.With("component", "catalog")
	return o
}

// BucketReport counts one bucket's objects in one pass.
type BucketReport struct {
	Listed     int `json:"listed"`
	New        int `json:"new"`        // entered into the ledger
	Changed    int `json:"changed"`    // known, with news: flag, correction, label
	Vanished   int `json:"vanished"`   // gone, and what they said taken back
	Incomplete int `json:"incomplete"` // no timestamp yet
	Malformed  int `json:"malformed"`
	Classless  int `json:"classless"` // clean only: the label of the directory is not known
	TagsRead   int `json:"tags_read"` // objects whose tags were asked for one by one
}

// Report says what a pass found. Problems names the first malformed objects
// that it read.
type Report struct {
	Production BucketReport `json:"production"`
	Waiting    BucketReport `json:"waiting"` // rebuild only
	Noisy      BucketReport `json:"noisy"`   // rebuild only
	Clean      BucketReport `json:"clean"`
	Samples    int          `json:"samples,omitempty"` // rebuild only: rows written
	Problems   []string     `json:"problems,omitempty"`
	Seconds    float64      `json:"seconds"`
}

const maxProblems = 20

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

// errClassless: nobody has said which class a directory stands for.
var errClassless = errors.New("not yet known")

// label is the label of a class directory; the error is [dg.ErrInvalid] for a
// number that the class list does not have, and [errClassless] while nobody has
// said what it means.
func (c *Catalog) label(n int) (string, error) {
	if classes := c.o.Classes(); len(classes) > 0 {
		return classes.Label(n)
	}
	if label := c.learned[n]; label != "" {
		return label, nil
	}
	return "", fmt.Errorf("class directory %02d: its label is not known, configure the class list: %w", n, errClassless)
}

// directory is the class directory of a label, the inverse of label; ok is
// false if nobody has said.
func (c *Catalog) directory(label string) (n int, ok bool) {
	if classes := c.o.Classes(); len(classes) > 0 {
		n = classes.Index(label)
		return n, n >= 0
	}
	for n, l := range c.learned {
		if l == label && label != "" {
			return n, true
		}
	}
	return 0, false
}

// relearn learns, once, what production shows of class directories, if nobody
// has given a class list.
func (c *Catalog) relearn(ctx context.Context) error {
	if c.relearned || len(c.o.Classes()) > 0 {
		return nil
	}
	found, err := c.ledger.ClassDirectories(ctx)
	if err != nil {
		return err
	}
	for _, d := range found {
		c.learn(d.Key, d.PredictedClass)
	}
	c.relearned = true
	return nil
}

// interval is the start of the curate interval of a sample that was curated.
func (c *Catalog) interval(s dg.Sample) time.Time {
	if s.Stratum == "" {
		return time.Time{}
	}
	return dg.Slot(s.Timestamp, c.o.Step).Start
}

// foreignLabel is what an object of clean says, its tags read as s; the error
// is [errClassless] when the label of its directory is not known.
func (c *Catalog) foreignLabel(s dg.Sample, modified time.Time) (ledger.ForeignLabel, error) {
	if s.LabelledAt.IsZero() {
		s.LabelledAt = modified
	}
	n, _, err := dg.ParseKey(s.Key)
	if err != nil {
		return ledger.ForeignLabel{}, err
	}
	label, err := c.label(n)
	if err != nil {
		return ledger.ForeignLabel{}, err
	}
	return ledger.ForeignLabel{Sample: s, Label: label, Interval: c.interval(s)}, nil
}

// Package labelling decides which predictions people are asked about, hands
// the tasks out, and carries the answers home.
//
// Curate picks: every sample gets one decision, recorded in the ledger before
// anything is copied, with the stratum and the sampling fraction that a
// weighted estimate needs. Collect moves answered samples to the clean and
// noisy buckets under the human class's directory. Both copy first and delete
// last, and record what is done only when it is done, so a crash at any point
// is repaired by running again, and nothing is asked or counted twice.
//
// Tasks are leased: no more annotators hold one at a time than it needs. Where
// several people are asked about each sample, the majority is its label, and
// the votes travel with it, so that disagreement lowers its weight; in a tie
// more people are asked, and at last the class that was named first wins.
package labelling

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// DefaultUndoWindow is how long an answer may usually be taken back.
const DefaultUndoWindow = 5 * time.Second

// Options say what is picked and how tasks are handed out. Zero fields mean
// the default, except UndoWindow.
type Options struct {
	Threshold   float64            // confidence, 0 to 1, below which a sample is low; default 0.7
	RandomQuota int                // random picks an interval, unless Caps says otherwise; default 5
	Caps        map[dg.Stratum]int // most picks a stratum and interval, drawn at random; no entry: all (random: RandomQuota)
	Seed        uint64             // of the draws, together with the interval
	Lease       time.Duration      // by the wall's clock, how long a task is one annotator's; default 10 min
	UndoWindow  time.Duration      // by Now, how old an answer must be to be collected; 0: at once
	Workers     int                // copies at once; default 32
	Annotators  int                // distinct people asked about each sample, 1 to 9, and up to 2 more in a tie; default 1

	Classes func() dg.Classes // of the model in production; required
	Now     func() time.Time  // default time.Now
	Logger  *slog.Logger
}

// Validate reports every fault at once, as [driftgate.ErrInvalid].
func (o Options) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format+": %w", append(args, dg.ErrInvalid)...))
		}
	}
	want(o.Threshold >= 0 && o.Threshold <= 1, "threshold %g: want 0 to 1, not a percentage", o.Threshold) // also refuses NaN
	want(o.RandomQuota >= 0, "random quota %d: want at least 1", o.RandomQuota)
	for _, stratum := range slices.Sorted(maps.Keys(o.Caps)) {
		want(slices.Contains(dg.Strata, stratum), "cap of %q: want one of %v", stratum, dg.Strata)
		want(o.Caps[stratum] >= 1, "cap of %s: %d, want at least 1", stratum, o.Caps[stratum])
	}
	want(o.Lease >= 0, "lease %s: want more than 0s", o.Lease)
	want(o.UndoWindow >= 0, "undo window %s: want at least 0s", o.UndoWindow)
	want(o.Workers >= 0, "workers %d: want at least 1", o.Workers)
	want(o.Annotators >= 0 && o.Annotators <= maxAnnotators, "annotators %d: want 1 to %d", o.Annotators, maxAnnotators)
	want(o.Classes != nil, "classes: want the class list of the model in production")
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.Threshold == 0 {
		o.Threshold = ledger.DefaultThreshold
	}
	if o.RandomQuota == 0 {
		o.RandomQuota = 5
	}
	if o.Lease == 0 {
		o.Lease = 10 * time.Minute
	}
	if o.Workers == 0 {
		o.Workers = 32
	}
	if o.Annotators == 0 {
		o.Annotators = 1
	}
	if o.Classes == nil {
		o.Classes = func() dg.Classes { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("component", "labelling")
	return o
}

// ObjectStore is all that labelling asks of the object store;
// [objstore.Store] says what each method promises.
type ObjectStore interface {
	Get(ctx context.Context, bucket, key string) ([]byte, objstore.Object, error)
	Stat(ctx context.Context, bucket, key string) (objstore.Object, error)
	Tags(ctx context.Context, bucket, key string) (map[string]string, error)
	Copy(ctx context.Context, srcBucket, srcKey, dstBucket, dstKey string, tags map[string]string) error
	List(ctx context.Context, bucket, prefix string, withTags bool) iter.Seq2[objstore.Object, error]
	Delete(ctx context.Context, bucket string, keys ...string) error
}

// Ledger is all that labelling asks of the ledger; [ledger.Ledger] says what
// each method promises.
type Ledger interface {
	Record(ctx context.Context, id string) (ledger.Record, error)
	Records(ctx context.Context, ids ...string) (map[string]ledger.Record, error)
	Uncurated(ctx context.Context, before time.Time) iter.Seq2[ledger.Record, error]
	LateFlags(ctx context.Context, before time.Time) iter.Seq2[ledger.Record, error]
	Decide(ctx context.Context, ds []ledger.Decision) error
	Unplaced(ctx context.Context) iter.Seq2[ledger.Record, error]
	Placed(ctx context.Context, ids ...string) error
	Asking(ctx context.Context, annotator string, q ledger.Quorum, limit int) ([]ledger.Asked, error)
	Answer(ctx context.Context, a ledger.Answer) error
	Unanswer(ctx context.Context, id, annotator string) error
	AnswersOf(ctx context.Context, ids ...string) (map[string][]ledger.Answer, error)
	LastAnswer(ctx context.Context, annotator string) (ledger.Answer, error)
	Decided(ctx context.Context, q ledger.Quorum, givenBefore time.Time, after ledger.Poll, limit int) ([]ledger.Poll, error)
	Move(ctx context.Context, labels ...ledger.Answer) error
	Unmove(ctx context.Context, ids ...string) error
	Moving(ctx context.Context) ([]ledger.Answer, error)
	Collected(ctx context.Context, a ledger.Answer) error
	FormerLabels(ctx context.Context, ids ...string) (map[string][]string, error)
	Labelled(ctx context.Context, iv dg.Interval) iter.Seq2[ledger.Record, error]
	Progress(ctx context.Context, q ledger.Quorum) (ledger.LabelProgress, error)
}

// Service curates, collects and hands out tasks. It is safe for concurrent
// use; one process at a time works on a set of buckets.
type Service struct {
	o       Options
	store   ObjectStore
	ledger  Ledger
	buckets objstore.Buckets

	moving sync.Mutex // one Curate or Collect at a time

	mu      sync.Mutex
	leases  map[string][]lease  // by sample id
	skipped map[string][]string // by annotator: sample ids, oldest first
	undo    map[string][]string // by annotator: ids answered, oldest first
}

// New makes the service; it asks nothing yet.
func New(o Options, store ObjectStore, l Ledger, b objstore.Buckets) *Service {
	return &Service{
		o: o.withDefaults(), store: store, ledger: l, buckets: b,
		leases: map[string][]lease{}, skipped: map[string][]string{}, undo: map[string][]string{},
	}
}

// each runs do for every item, Workers at a time, and returns all errors; one
// item's error does not keep the others from being done.
func each[T any](ctx context.Context, workers int, items []T, do func(ctx context.Context, i int, item T) error) error {
	errs := make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(workers)
	for i, item := range items {
		g.Go(func() error {
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = do(ctx, i, item)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return joinFew(errs)
}

// joinFew joins the first errors and counts the rest: a store that is gone
// fails a thousand times alike.
func joinFew(errs []error) error {
	const few = 5
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	if len(errs) <= few {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs[:few:few], fmt.Errorf("and %d more errors", len(errs)-few))...)
}

// maxTags is how many tags S3 allows an object.
const maxTags = 10

var knownTags = []string{dg.TagPredictedClass, dg.TagConfidence, dg.TagTimestamp, dg.TagFlagged, dg.TagCorrectedClass,
	dg.TagModelVersion, dg.TagStratum, dg.TagSamplingFraction, dg.TagLabelSource, dg.TagLabelledAt}

// withTags returns tags as they were, with those of add set. Foreign tags give
// way where ten are not enough.
func withTags(tags, add map[string]string) map[string]string {
	out := maps.Clone(tags)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, add)
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(out))) {
		if len(out) <= maxTags {
			break
		}
		if !slices.Contains(knownTags, key) {
			delete(out, key)
		}
	}
	return out
}

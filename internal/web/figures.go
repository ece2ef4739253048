package web

import (
	"context"
	"fmt"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

const (
	maxKept      = 48               // results of computations
	maxUnderWay  = 8                // computations that wait or run
	computeLimit = 10 * time.Minute // of one computation
	freshFor     = 30 * time.Second // a result, whatever the ledger did since
	sameFor      = 15 * time.Minute // ... while the ledger stands where it stood
	failedFor    = 15 * time.Second // a failure, so that whoever waits for it hears of it
	pagePatience = 2 * time.Second  // of a page, before it says that it is computing
	apiPatience  = 20 * time.Second // of an API answer, before it is 202
)

// figures keeps what takes long to compute: reports, studies, galleries. One is
// computed at a time, apart from the requests that want it, so that a page that
// is left does not throw work away; what is known from before is shown
// meanwhile, with its age.
type figures struct {
	revision func(context.Context) (ledger.Revision, error)
	base     context.Context
	cancel   context.CancelFunc
	room     chan struct{}
	jobs     sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	kept    map[string]*keptFigure
}

// keptFigure is one result, or one to come.
type keptFigure struct {
	value    any
	err      error
	at       time.Time // of the result; zero: none yet
	revision ledger.Revision
	asked    time.Time     // last
	began    time.Time     // of the computation under way
	done     chan struct{} // closed when it ends; nil: none is under way
}

// errStopping is the answer of a gateway that ends: another, or it again, will
// compute.
var errStopping = fmt.Errorf("the gateway stops: ask again: %w", dg.ErrFull)

func newFigures(revision func(context.Context) (ledger.Revision, error)) *figures {
	f := &figures{revision: revision, room: make(chan struct{}, 1), kept: map[string]*keptFigure{}}
	f.base, f.cancel = context.WithCancel(context.Background())
	return f
}

// stop ends the computations and waits for them.
func (f *figures) stop() {
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	f.cancel()
	f.jobs.Wait()
}

// found is what is known of a figure at one moment.
type found[T any] struct {
	Value     T
	At        time.Time // of the value; zero: there is none
	Computing bool      // a newer one is under way ...
	Since     time.Time // ... since then
}

// Has reports whether there is a value.
func (f found[T]) Has() bool { return !f.At.IsZero() }

// figureOf returns what is kept under key while it is fresh, and else waits at
// most so long for a new one. The error is that of the computation.
func figureOf[T any](ctx context.Context, f *figures, key string, wait time.Duration, compute func(context.Context) (T, error)) (found[T], error) {
	now, err := f.get(ctx, key, wait, func(ctx context.Context) (any, error) { return compute(ctx) })
	if err != nil {
		return found[T]{}, err
	}
	out := found[T]{At: now.at, Computing: now.done != nil, Since: now.began}
	if !now.at.IsZero() {
		out.Value = now.value.(T)
	}
	return out, nil
}

func (f *figures) get(ctx context.Context, key string, wait time.Duration, compute func(context.Context) (any, error)) (keptFigure, error) {
	revision, err := f.revision(ctx)
	if err != nil {
		return keptFigure{}, err
	}
	e, err := f.begin(key, revision, compute)
	if err != nil || e.done == nil {
		return e, err
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	select {
	case <-e.done:
	case <-patience.C:
	case <-ctx.Done():
		return keptFigure{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.kept[key]; now != nil {
		return *now, now.err
	}
	return e, nil
}

// begin returns what is known, and starts a computation unless that is fresh.
func (f *figures) begin(key string, revision ledger.Revision, compute func(context.Context) (any, error)) (keptFigure, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.kept[key]
	if e == nil {
		e = &keptFigure{}
	}
	e.asked = time.Now()
	age := time.Since(e.at)
	switch {
	case e.done != nil:
		return *e, nil
	case e.err != nil && age < failedFor:
		return *e, e.err
	case e.err == nil && !e.at.IsZero() && (age < freshFor || age < sameFor && e.revision == revision):
		return *e, nil
	case f.stopped:
		return keptFigure{}, errStopping
	case f.underWay() >= maxUnderWay:
		return keptFigure{}, fmt.Errorf("%d reports and comparisons are being computed: try again in a while: %w", maxUnderWay, dg.ErrFull)
	}
	e.done, e.began = make(chan struct{}), time.Now()
	f.kept[key] = e
	f.evict()
	f.jobs.Go(func() { f.compute(e, revision, compute) })
	return *e, nil
}

// compute fills e. A result that was there stays until the new one is.
func (f *figures) compute(e *keptFigure, revision ledger.Revision, compute func(context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(f.base, computeLimit)
	defer cancel()
	var value any
	var err error
	select {
	case f.room <- struct{}{}:
		value, err = f.safely(ctx, compute)
		<-f.room
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil && f.base.Err() != nil {
		err = errStopping // whoever waits has not left: we have
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	close(e.done)
	e.done, e.value, e.err, e.at, e.revision = nil, value, err, time.Now(), revision
}

// safely turns a panic into an error: there is no request that would do it.
func (f *figures) safely(ctx context.Context, compute func(context.Context) (any, error)) (value any, err error) {
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, fmt.Errorf("web: compute a figure: panic: %v", r)
		}
	}()
	return compute(ctx)
}

func (f *figures) underWay() (n int) {
	for _, e := range f.kept {
		if e.done != nil {
			n++
		}
	}
	return n
}

// evict drops what was not asked for the longest.
func (f *figures) evict() {
	for len(f.kept) > maxKept {
		oldest := ""
		for key, e := range f.kept {
			if e.done == nil && (oldest == "" || e.asked.Before(f.kept[oldest].asked)) {
				oldest = key
			}
		}
		if oldest == "" {
			return
		}
		delete(f.kept, oldest)
	}
}

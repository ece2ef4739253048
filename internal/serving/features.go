package serving

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// FeatureCell is the event time that one stored sum of features spans.
const FeatureCell = 10 * time.Minute

// maxFeatureCells bounds what is kept in memory while the ledger is away: at
// one version, more than ten hours, at about 5 KB a cell.
const maxFeatureCells = 64

// features sums up what the penultimate layer saw, by model version and cell of
// event time, until the ledger has it. Images and features themselves are not
// kept: a sum of 32 numbers and their products is enough for the test of input
// drift. kill -9 costs what came since the last flush, and a commit whose reply
// was lost counts a flush twice; neither moves a sum over a day by much.
type features struct {
	put  func(ctx context.Context, c ledger.FeatureCell, merge func(old []byte) ([]byte, error)) error
	lost func(predictions int)
	wake chan struct{} // holds a token when a cell has ended

	flushing sync.Mutex // one flush at a time
	mu       sync.Mutex
	pending  map[featureKey]*estimate.FeatureSums
	newest   time.Time // start of the newest cell
}

type featureKey struct {
	version string // short
	cell    time.Time
}

func newFeatures(l Ledger, lost func(int)) *features {
	return &features{put: l.PutFeatures, lost: lost, wake: make(chan struct{}, 1), pending: map[featureKey]*estimate.FeatureSums{}}
}

// sketchOf makes the sketch that belongs to a model: of another model the same
// features would mean something else.
func sketchOf(ref dg.ModelRef, dim int) *estimate.Sketch {
	h := fnv.New64a()
	_, _ = h.Write([]byte(ref)) // never fails
	return estimate.NewSketch(dim, h.Sum64())
}

// add counts one acknowledged prediction of the model named version at event
// time at.
func (f *features) add(version string, at time.Time, sketch *estimate.Sketch, seen []float32) {
	if sketch == nil || len(seen) != sketch.Dim() {
		return // a model without features
	}
	var phi [estimate.SketchSize]float64
	sketch.Map(seen, phi[:])
	key := featureKey{version, dg.Slot(at, FeatureCell).Start}
	f.mu.Lock()
	defer f.mu.Unlock()
	sums, ok := f.pending[key]
	if !ok {
		sums = &estimate.FeatureSums{}
		f.pending[key] = sums
		f.bound()
	}
	sums.Add(phi[:])
	if key.cell.After(f.newest) {
		if f.newest = key.cell; len(f.pending) > 1 {
			select {
			case f.wake <- struct{}{}:
			default:
			}
		}
	}
}

// bound forgets the oldest cells beyond the limit. The lock is held.
func (f *features) bound() {
	for len(f.pending) > maxFeatureCells {
		var oldest featureKey
		for key := range f.pending {
			if oldest.cell.IsZero() || key.cell.Before(oldest.cell) {
				oldest = key
			}
		}
		f.lost(f.pending[oldest].N)
		delete(f.pending, oldest)
	}
}

// flush hands everything over to the ledger, the oldest cell first. What it
// does not take stays pending.
func (f *features) flush(ctx context.Context) error {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	f.mu.Lock()
	taken := f.pending
	f.pending = map[featureKey]*estimate.FeatureSums{}
	f.mu.Unlock()
	keys := make([]featureKey, 0, len(taken))
	for key := range taken {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b featureKey) int { return a.cell.Compare(b.cell) })
	for i, key := range keys {
		if err := f.hand(ctx, key, *taken[key]); err != nil {
			f.restore(taken, keys[i:])
			return fmt.Errorf("serving: keep features: %w", err)
		}
	}
	return nil
}

// hand adds sums to those that the ledger has of the cell.
func (f *features) hand(ctx context.Context, key featureKey, sums estimate.FeatureSums) error {
	encoded, err := sums.MarshalBinary()
	if err != nil {
		return err
	}
	return f.put(ctx, ledger.FeatureCell{ModelVersion: key.version, Cell: key.cell, Sums: encoded}, func(old []byte) ([]byte, error) {
		var all estimate.FeatureSums
		if err := all.UnmarshalBinary(old); err != nil {
			return encoded, nil //nolint:nilerr // sums that nobody can read are of no use to anybody
		}
		if err := all.Merge(sums); errors.Is(err, dg.ErrInvalid) {
			return encoded, nil // another sketch's, of an older driftgate
		}
		return all.MarshalBinary()
	})
}

// restore puts sums back that could not be handed over.
func (f *features) restore(taken map[featureKey]*estimate.FeatureSums, keys []featureKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range keys {
		if now, ok := f.pending[key]; ok {
			if err := taken[key].Merge(*now); err != nil {
				f.lost(now.N)
			}
		}
		f.pending[key] = taken[key]
	}
	f.bound()
}

// keepFeatures flushes every Options.FeatureFlush, and when a cell has ended,
// until ctx ends.
func (s *Service) keepFeatures(ctx context.Context) {
	ticks := time.NewTicker(s.o.FeatureFlush)
	defer ticks.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		case <-s.features.wake:
		}
		err := s.features.flush(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.o.Logger.Warn("features wait in memory: the ledger does not take them", "err", err)
		}
		failing = err != nil
	}
}

// lastFeatures flushes once more, with ctx ended or not.
func (s *Service) lastFeatures(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := s.features.flush(ctx); err != nil {
		s.o.Logger.Warn("features not kept", "err", err)
	}
}

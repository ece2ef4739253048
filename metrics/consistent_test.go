package metrics

import (
	"fmt"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// What has not changed is not computed again, and what has is.
func TestARefreshReadsAgainOnlyWhatChanged(t *testing.T) {
	w := newWorld(t, Options{Windows: []time.Duration{time.Hour}, RecordEvery: -1, MinLabels: 1})
	w.metrics.SetChampion(champion(refA, noon.Add(-time.Hour)), nil)
	w.fill(batch{version: refA, stratum: dg.Random, at: noon.Add(-time.Minute), interval: noon, n: 30, m: 10, k: 5, picked: 11})
	w.snapshot()
	first := w.snapshot()
	again := w.snapshot()
	if &first.Windows[0] != &again.Windows[0] {
		t.Error("the same windows were computed twice")
	}
	for _, tt := range []struct {
		name   string
		change func()
	}{
		{"a label", func() {
			must(t, w.ledger.Collected(t.Context(), ledger.Answer{ID: "000011.png", Label: "Dress", At: noon}))
		}},
		{"the next stride", func() { w.now = w.now.Add(time.Second) }},
		{"another champion", func() { w.metrics.SetChampion(champion(refB, noon), nil) }},
	} {
		tt.change()
		if next := w.snapshot(); &next.Windows[0] == &again.Windows[0] {
			t.Errorf("%s changed nothing", tt.name)
		} else {
			again = next
		}
	}
}

// While labels arrive, every snapshot must be one moment of the ledger: windows
// nest, and slices add up to their window.
func TestASnapshotIsOneMomentWhileLabelsArrive(t *testing.T) {
	w := newWorld(t, Options{Windows: []time.Duration{time.Hour, 6 * time.Hour}, RecordEvery: -1})
	at := noon.Add(-time.Minute)
	w.metrics.SetChampion(champion(refA, noon.Add(-time.Hour)), nil)
	w.fill(batch{version: refA, stratum: dg.Random, at: at, interval: at, n: 300, picked: 300})
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer close(done)
		for i := range 60 {
			if err := w.ledger.Collected(t.Context(), ledger.Answer{ID: fmt.Sprintf("%06d.png", i+1), Label: []string{"Dress", "Coat"}[i%2], At: noon}); err != nil {
				t.Error(err)
			}
		}
	})
	seen := map[int]bool{}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		s := w.snapshot()
		short, long := s.Windows[0], s.Windows[1]
		if short.Labels != long.Labels || short.Predictions != 300 || long.Predictions != 300 {
			t.Fatalf("%d labels in the hour, %d in six", short.Labels, long.Labels)
		}
		for _, a := range s.Windows {
			sums := map[string]int{}
			for _, p := range a.Slices {
				sums[p.By] += p.Labels
			}
			if sums[ledger.ByClass] != a.Labels || sums[ledger.ByConfidence] != a.Labels {
				t.Fatalf("%s: %d labels, slices %v", a.Window, a.Labels, sums)
			}
		}
		seen[short.Labels] = true
	}
	writer.Wait()
	if !seen[60] || len(seen) < 3 {
		t.Errorf("snapshots of %d moments: the labels came too fast to test anything", len(seen))
	}
}

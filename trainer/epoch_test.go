package trainer

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/network"
)

func TestABatchIsNoLargerThanWhatThereIs(t *testing.T) {
	weights := map[int]network.Weights{}
	for _, batch := range []int{8192, 0} {
		job := quick(t)
		job.Options.Replay = 120
		m, err := gather(t.Context(), job, newMemory(), func(Progress) {})
		if err != nil {
			t.Fatal(err)
		}
		n := m.train.len()
		if job.Options.Batch = batch; batch == 0 {
			job.Options.Batch = n
		}
		tr, err := newTraining(job, "key", m, func(Progress) {})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(tr.feed.buffers[0].inputs); tr.batch != n || got != n*784 {
			t.Errorf("batch %d of %d samples: %d a step, room for %d values", job.Options.Batch, n, tr.batch, got)
		}
		if err := tr.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		weights[batch] = tr.state.weights
		tr.close()
	}
	if !reflect.DeepEqual(weights[8192], weights[0]) {
		t.Error("a batch larger than the set gives another model than one as large")
	}
}

func TestALossThatIsNoNumberIsExplained(t *testing.T) {
	job := quick(t)
	m, err := gather(t.Context(), job, newMemory(), func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTraining(job, "key", m, func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	for i := range m.valid.weights { // as a weight that single precision cannot hold
		m.valid.weights[i] = float32(math.Inf(1))
	}
	tr.state.Epoch = 1
	if _, err := tr.judge(); !errors.Is(err, network.ErrDiverged) || !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "after epoch 1: training diverged: the validation loss is NaN: the likely cause is a learning_rate") {
		t.Errorf("judged: %v", err)
	}
	clear(m.train.weights)
	if err := tr.epoch(t.Context()); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "weigh nothing together") {
		t.Errorf("samples without weight: %v", err)
	}
}

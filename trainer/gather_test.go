package trainer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
)

func TestReplayKeepsTheClassShares(t *testing.T) {
	set := dataset.Set{Classes: dg.Classes{"a", "b", "c"}}
	for i := range 100 {
		set.Train.Labels = append(set.Train.Labels, uint16([]int{0, 0, 0, 0, 0, 0, 1, 1, 1, 2}[i%10]))
	}
	for _, tt := range []struct {
		replay int
		want   []int
	}{{0, []int{0, 0, 0}}, {10, []int{6, 3, 1}}, {50, []int{30, 15, 5}}, {33, []int{20, 10, 3}}, {-1, []int{60, 30, 10}}, {1000, []int{60, 30, 10}}} {
		picked := replay(set, Options{Sampling: Sampling{Replay: tt.replay}, Seed: 1})
		got := make([]int, 3)
		for _, i := range picked {
			got[set.Train.Labels[i]]++
		}
		if !slices.Equal(got, tt.want) || len(slices.Compact(slices.Clone(picked))) != len(picked) || !slices.IsSorted(picked) {
			t.Errorf("replay %d: %v of each class, want %v; %v", tt.replay, got, tt.want, picked)
		}
	}
	if got := byShare([]int{990, 5, 0, 5}, 10); !slices.Equal(got, []int{8, 1, 0, 1}) {
		t.Errorf("small classes: %v", got)
	}
	if got := byShare([]int{50, 30, 20, 10}, 2); !slices.Equal(got, []int{1, 1, 0, 0}) {
		t.Errorf("fewer than classes: %v", got)
	}
	a, b := replay(set, Options{Sampling: Sampling{Replay: 20}, Seed: 1}), replay(set, Options{Sampling: Sampling{Replay: 20}, Seed: 2})
	if slices.Equal(a, b) || !slices.Equal(a, replay(set, Options{Sampling: Sampling{Replay: 20}, Seed: 1})) {
		t.Error("the seed does not decide which are picked")
	}
}

func TestAClassOfWhichNothingIsLeftIsRefusedOrNamed(t *testing.T) {
	src, job := newMemory(), quick(t)
	var two []Example
	for _, e := range examplesOf(t, src, 60) {
		if e.Label == "Bag" || e.Label == "Coat" {
			two = append(two, e)
		}
	}
	job.Examples, job.Options.Replay = two, 0
	_, err := gather(t.Context(), job, src, func(Progress) {})
	if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), `no image is left of the classes ["T-shirt/top" "Trouser"`) || strings.Contains(err.Error(), `"Bag"`) {
		t.Errorf("from scratch: %v", err)
	}
	src.parent = mustTrain(t, quick(t), newMemory())
	job.Options.Start, job.Parent = Warm, "sha256:1234"
	m, err := gather(t.Context(), job, src, func(Progress) {})
	if err != nil || len(m.account.Sampling.Unlearned) != 8 || slices.Contains(m.account.Sampling.Unlearned, "Bag") {
		t.Errorf("with a parent: %v, %+v", err, m)
	}
	// With replay nothing is missing, and the account says so.
	job = quick(t)
	job.Examples = two
	if m, err := gather(t.Context(), job, src, func(Progress) {}); err != nil || m.account.Sampling.Unlearned != nil {
		t.Errorf("with replay: %v", err)
	}
}

func TestTheOnlyImageOfAClassIsLearnedFrom(t *testing.T) {
	job := quick(t)
	job.Options.Replay, job.Options.Validation = 10, 0.5 // one of each class, half of which validate
	m, err := gather(t.Context(), job, newMemory(), func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if n := classCounts(&m.train, 10); slices.Min(n) != 1 || m.train.len() != 10 || m.valid.len() != 0 {
		t.Errorf("learned from %v, %d validate", n, m.valid.len())
	}
	for i, px := range m.train.images {
		if len(px) != m.pre.Size() || m.train.ids[i] == "" || m.train.sources[i] != baseSource {
			t.Errorf("sample %d is not whole", i)
		}
	}
}

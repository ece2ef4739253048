package trainer

import (
	"slices"
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
	a, b := replay(set, Options{Sampling: Sampling{Replay: 20}, Seed: 1}), replay(set, Options{Sampling: Sampling{Replay: 20}, Seed: 2})
	if slices.Equal(a, b) || !slices.Equal(a, replay(set, Options{Sampling: Sampling{Replay: 20}, Seed: 1})) {
		t.Error("the seed does not decide which are picked")
	}
}

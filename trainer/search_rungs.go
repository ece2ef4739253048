package trainer

import (
	"cmp"
	"math"
	"slices"

	"driftgate/internal/network"
)

// eta is the share of trials that each round of halving lets go on: one in three.
const eta = 3

// rung is a round of a search: so many trials train until so many epochs are
// done.
type rung struct{ epochs, trials int }

// rungs plans a search. Random has one round. Halving has as many as thirds can
// be taken, of the trials or of the epochs: with N trials and R epochs the last
// round ends at R, the one before at R/3, and each begins with a third of the
// trials of the one before it.
func (s Search) rungs(epochs int) []rung {
	rounds := 0
	if s.Method != Random {
		for n, r := s.Trials, epochs; n > 1 && r >= eta; n, r = third(n), r/eta {
			rounds++
		}
	}
	out := make([]rung, 0, rounds+1)
	for i, n := 0, s.Trials; i <= rounds; i, n = i+1, third(n) {
		at := int(math.Round(float64(epochs) / math.Pow(eta, float64(rounds-i))))
		out = append(out, rung{at, n})
	}
	return out
}

// third is a third of n, at least 1.
func third(n int) int { return (n + eta - 1) / eta }

// planned is how many epochs a plan takes in all, when no trial stops early.
func planned(plan []rung) (epochs int) {
	before := 0
	for _, r := range plan {
		epochs += r.trials * (r.epochs - before)
		before = r.epochs
	}
	return epochs
}

// ranked sorts trials, the best first: by validation accuracy, then loss, then
// number.
func ranked(trials []network.Trial, numbers []int) []int {
	out := slices.Clone(numbers)
	slices.SortFunc(out, func(a, b int) int {
		x, y := trials[a-1], trials[b-1]
		return cmp.Or(cmp.Compare(y.ValidationAccuracy, x.ValidationAccuracy), cmp.Compare(x.ValidationLoss, y.ValidationLoss), cmp.Compare(a, b))
	})
	return out
}

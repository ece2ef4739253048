package trainer

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// replay picks base samples: all, or o.Replay of them, each class in its share
// or all classes alike (largest remainder), drawn by the seed. Ascending.
func replay(set dataset.Set, o Options) []int {
	byClass := make([][]int, len(set.Classes))
	for i, label := range set.Train.Labels {
		byClass[label] = append(byClass[label], i)
	}
	want := o.Replay
	if n := set.Train.Len(); want < 0 || want > n {
		want = n
	}
	sizes := make([]int, len(byClass))
	for c, members := range byClass {
		sizes[c] = len(members)
	}
	quota := byShare(sizes, want)
	if o.ReplayBy == Evenly {
		quota = evenly(sizes, want)
	}
	rng := rand.New(rand.NewPCG(o.Seed, streamReplay))
	var out []int
	for c, members := range byClass {
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		out = append(out, members[:quota[c]]...)
	}
	slices.Sort(out)
	return out
}

// byShare divides want over classes in proportion to their sizes, with one at
// least for each class that there is, while want allows.
func byShare(sizes []int, want int) []int {
	n := 0
	for _, size := range sizes {
		n += size
	}
	quota, order, left := make([]int, len(sizes)), make([]int, len(sizes)), want
	for c, size := range sizes {
		order[c] = c
		quota[c] = want * size / max(n, 1)
		left -= quota[c]
	}
	remainder := func(c int) int { return want * sizes[c] % max(n, 1) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainder(b), remainder(a)) })
	for _, c := range order[:left] {
		quota[c]++
	}
	for c, size := range sizes { // a class that nothing falls to gets one from the largest
		most := slices.Index(quota, slices.Max(quota))
		if size > 0 && quota[c] == 0 && quota[most] > 1 {
			quota[c], quota[most] = 1, quota[most]-1
		}
	}
	return quota
}

// evenly divides want, at most all there is, over classes alike; what a small
// class lacks goes to the others.
func evenly(sizes []int, want int) []int {
	quota := make([]int, len(sizes))
	for want > 0 {
		for c, size := range sizes { // a round of one each: order decides the last round alone
			if quota[c] < size && want > 0 {
				quota[c]++
				want--
			}
		}
	}
	return quota
}

// maxFactor bounds what balancing does to one class: a class with one sample
// must not be learned by heart.
const maxFactor = 20.0

// balance decides what each class counts for and returns how many samples of
// each an epoch takes; nil is all, once each.
func (m *material) balance(o Options) []int {
	a := &m.account.Sampling
	a.Balance, a.ReplayBy = cmp.Or(o.Balance, None), cmp.Or(o.ReplayBy, ByShare)
	classes := len(m.base.Classes)
	a.Before = classWeights(&m.train, classes)
	if a.Balance == None {
		a.After = normalised(a.Before)
		a.Before = slices.Clone(a.After)
		return nil
	}
	a.BalanceBy = cmp.Or(o.BalanceBy, ByWeights)
	mass := a.Before
	var draws []int
	if a.BalanceBy == BySamples {
		mass = classCounts(&m.train, classes)
	}
	factors := balanceFactors(mass, a.Balance)
	if a.BalanceBy == BySamples {
		draws = make([]int, classes)
		for c, n := range mass {
			if n > 0 {
				draws[c] = max(1, int(math.Round(n*factors[c])))
			}
			a.Repeated += max(0, draws[c]-int(n))
			a.Omitted += max(0, int(n)-draws[c])
			factors[c] = float64(draws[c]) / max(n, 1)
		}
	}
	after := slices.Clone(a.Before)
	for c := range after {
		after[c] *= factors[c]
	}
	a.Before, a.After = normalised(a.Before), normalised(after)
	if draws == nil {
		scaleClasses(&m.train, factors)
	}
	scaleClasses(&m.valid, factors) // judged as it is trained
	return draws
}

// balanceFactors makes the classes that there are count the same (Equal), or by
// the square root of their mass; the whole mass stays, but for what maxFactor
// takes.
func balanceFactors(mass []float64, how string) []float64 {
	want := make([]float64, len(mass))
	var total, wanted float64
	for c, v := range mass {
		if v > 0 {
			if want[c] = 1; how == Sqrt {
				want[c] = math.Sqrt(v)
			}
		}
		total, wanted = total+v, wanted+want[c]
	}
	out := make([]float64, len(mass))
	for c, v := range mass {
		if out[c] = 1; v > 0 {
			out[c] = min(max(want[c]/wanted*total/v, 1/maxFactor), maxFactor)
		}
	}
	return out
}

func classWeights(s *samples, classes int) []float64 {
	out := make([]float64, classes)
	for i, label := range s.labels {
		out[label] += float64(s.weights[i])
	}
	return out
}

func classCounts(s *samples, classes int) []float64 {
	out := make([]float64, classes)
	for _, label := range s.labels {
		out[label]++
	}
	return out
}

func scaleClasses(s *samples, factors []float64) {
	for i, label := range s.labels {
		s.weights[i] *= float32(factors[label])
	}
}

// weighClasses multiplies the weights of the named labels' samples, which are
// classes of the set; what validates is judged as it is trained.
func (m *material) weighClasses(weights map[string]float64) {
	if len(weights) == 0 {
		return
	}
	factors, after := make([]float64, len(m.base.Classes)), m.account.Sampling.After
	for c, label := range m.base.Classes {
		if factors[c] = 1; weights[label] > 0 {
			factors[c] = weights[label]
		}
		after[c] *= factors[c]
	}
	m.account.Sampling.After = normalised(after)
	scaleClasses(&m.train, factors)
	scaleClasses(&m.valid, factors)
}

func normalised(v []float64) []float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	out := make([]float64, len(v))
	for i, x := range v {
		if sum > 0 {
			out[i] = x / sum
		}
	}
	return out
}

// epochOrder is which samples an epoch takes, in which order: all of them, or
// draws of each class, those that are repeated or left out by lot.
func epochOrder(into []int, s *samples, draws []int, rng *rand.Rand) []int {
	into = into[:0]
	if draws == nil {
		for i := range s.len() {
			into = append(into, i)
		}
	} else {
		byClass := make([][]int, len(draws))
		for i, label := range s.labels {
			byClass[label] = append(byClass[label], i)
		}
		for c, members := range byClass {
			rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			for k := range draws[c] {
				into = append(into, members[k%len(members)])
			}
		}
	}
	rng.Shuffle(len(into), func(i, j int) { into[i], into[j] = into[j], into[i] })
	return into
}

// perEpoch is how many samples an epoch takes.
func (m *material) perEpoch() int {
	if m.draws == nil {
		return m.train.len()
	}
	n := 0
	for _, k := range m.draws {
		n += k
	}
	return n
}

// replayed counts base samples by class.
func replayed(set dataset.Set, picked []int) []int {
	out := make([]int, len(set.Classes))
	for _, i := range picked {
		out[set.Train.Labels[i]]++
	}
	return out
}

// parameters of a set of tensors.
func parameters(w network.Weights) int {
	n := 0
	for _, t := range w {
		n += len(t.Data)
	}
	return n
}

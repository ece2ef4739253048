package simulate

import (
	"math"
	"math/rand/v2"
)

// cell is one stratum of one curate interval.
type cell struct {
	predictions int
	picked      int
	labelled    int // of the picked
	wrong       int // of the labelled
}

// batch is what one curate interval brought.
type batch struct {
	low, rest cell
	answers   []bool // of the labelled, in the order of their arrival; true: wrong
}

// stream makes the intervals of one deployment.
type stream struct {
	o       Options
	random  int
	rng     *rand.Rand
	low     float64 // chance of an error there
	rest    float64
	answers []bool

	interval int // the next one, counted from 0
}

// source is the run's own randomness: the same for the same place, whoever
// plays it.
func source(seed uint64, rate, scene, run int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(rate)<<48|uint64(scene)<<40|uint64(run)))
}

func newStream(o Options, random int, rng *rand.Rand) *stream {
	s := &stream{o: o, random: random, rng: rng}
	s.drop(0)
	return s
}

// drop changes the accuracy from the next interval on; Validate has made sure
// that it can be.
func (s *stream) drop(by float64) { s.low, s.rest, _ = s.o.errorRates(by) }

// next plays one interval: its predictions arrive by chance, each is of low
// confidence by chance, and people answer picks by chance. The batch is valid
// until the next one.
func (s *stream) next() batch {
	perDay := s.o.intervalsPerDay()
	swing := 1 + s.o.DailySwing*math.Sin(2*math.Pi*float64(s.interval)/perDay)
	s.interval++
	n := s.poisson(float64(s.o.PredictionsPerDay) / perDay * swing)
	low := s.binomial(n, s.o.LowConfidence)
	var b batch
	b.low = cell{predictions: low, picked: low}
	if s.o.MaxLow > 0 {
		b.low.picked = min(low, s.o.MaxLow)
	}
	b.rest = cell{predictions: n - low, picked: min(n-low, s.random)}
	s.answers = s.answers[:0]
	s.label(&b.low, s.low)
	s.label(&b.rest, s.rest)
	s.rng.Shuffle(len(s.answers), func(i, j int) { s.answers[i], s.answers[j] = s.answers[j], s.answers[i] })
	b.answers = s.answers
	return b
}

func (s *stream) label(c *cell, wrong float64) {
	for range c.picked {
		if s.o.Answered < 1 && s.rng.Float64() >= s.o.Answered {
			continue
		}
		c.labelled++
		err := s.rng.Float64() < wrong
		if err {
			c.wrong++
		}
		s.answers = append(s.answers, err)
	}
}

// Beyond these means the normal distribution stands in for traffic, which is
// far more regular here than anywhere else; labels are drawn one by one.
const (
	largePoisson  = 64
	largeBinomial = 64
)

// poisson draws from the Poisson distribution.
func (s *stream) poisson(mean float64) int {
	if mean > largePoisson {
		return int(max(0, math.Round(mean+math.Sqrt(mean)*s.rng.NormFloat64())))
	}
	n := 0
	for t := s.rng.ExpFloat64(); t < mean; t += s.rng.ExpFloat64() {
		n++
	}
	return n
}

// binomial draws the number of successes in n.
func (s *stream) binomial(n int, p float64) int {
	if p <= 0 || n == 0 {
		return 0
	}
	if p >= 1 {
		return n
	}
	if p > .5 {
		return n - s.binomial(n, 1-p)
	}
	if mean := float64(n) * p; mean > largeBinomial {
		k := math.Round(mean + math.Sqrt(mean*(1-p))*s.rng.NormFloat64())
		return int(min(float64(n), max(0, k)))
	}
	// From success to success: the failures between are geometric.
	k, log := 0, math.Log1p(-p)
	for at := 0.0; ; k++ {
		at += math.Floor(-s.rng.ExpFloat64()/log) + 1
		if at > float64(n) {
			return k
		}
	}
}

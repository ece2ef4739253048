package simulate

import (
	"math"
	"testing"
)

func TestDrawsHaveTheirMoments(t *testing.T) {
	s := newStream(usual().withDefaults(), 5, source(1, 0, 0, 0))
	const draws = 40000
	for _, tt := range []struct {
		name           string
		draw           func() int
		mean, variance float64
	}{
		{"poisson 3", func() int { return s.poisson(3) }, 3, 3},
		{"poisson 500", func() int { return s.poisson(500) }, 500, 500},
		{"binomial 10 of .3", func() int { return s.binomial(10, .3) }, 3, 2.1},
		{"binomial 10 of .9", func() int { return s.binomial(10, .9) }, 9, .9},
		{"binomial 5000 of .001", func() int { return s.binomial(5000, .001) }, 5, 4.995},
		{"binomial 5000 of .2", func() int { return s.binomial(5000, .2) }, 1000, 800},
		{"binomial of none", func() int { return s.binomial(0, .2) }, 0, 0},
		{"binomial of 1", func() int { return s.binomial(9, 1) }, 9, 0},
	} {
		var sum, square float64
		for range draws {
			x := float64(tt.draw())
			sum += x
			square += (x - tt.mean) * (x - tt.mean)
		}
		if mean := sum / draws; math.Abs(mean-tt.mean) > 5*math.Sqrt(tt.variance/draws)+1e-12 {
			t.Errorf("%s: mean %g, want %g", tt.name, mean, tt.mean)
		}
		if v := square / draws; math.Abs(v-tt.variance) > .06*tt.variance {
			t.Errorf("%s: variance %g, want %g", tt.name, v, tt.variance)
		}
	}
}

func TestStreamsAreAsTheGatewayMakesThem(t *testing.T) {
	o := usual()
	o.MaxLow, o.Answered = 7, .8
	o = o.withDefaults()
	s := newStream(o, 5, source(2, 0, 0, 0))
	s.drop(.1)
	low, rest, _ := o.errorRates(.1)
	const intervals = 48 * 400
	var sum batch
	busy, calm := 0, 0
	for n := range intervals {
		b := s.next()
		wrong := 0
		for _, w := range b.answers {
			if w {
				wrong++
			}
		}
		if len(b.answers) != b.low.labelled+b.rest.labelled || wrong != b.low.wrong+b.rest.wrong {
			t.Fatalf("%d answers, %d wrong, of %+v", len(b.answers), wrong, b)
		}
		if b.low.picked != min(7, b.low.predictions) || b.rest.picked != min(5, b.rest.predictions) {
			t.Fatalf("picked %+v", b)
		}
		if hour := n % 48; hour > 6 && hour < 18 {
			busy += b.low.predictions + b.rest.predictions
		} else if hour > 30 && hour < 42 {
			calm += b.low.predictions + b.rest.predictions
		}
		for _, p := range []struct{ to, from *cell }{{&sum.low, &b.low}, {&sum.rest, &b.rest}} {
			p.to.predictions += p.from.predictions
			p.to.picked += p.from.picked
			p.to.labelled += p.from.labelled
			p.to.wrong += p.from.wrong
		}
	}
	ratio := func(name string, a, b int, want float64) {
		t.Helper()
		if got := float64(a) / float64(b); math.Abs(got-want) > 5*math.Sqrt(want*(1-want)/float64(b)) {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	all := sum.low.predictions + sum.rest.predictions
	if perDay := float64(all) / 400; math.Abs(perDay-5000) > 30 {
		t.Errorf("%g predictions a day", perDay)
	}
	ratio("low confidence", sum.low.predictions, all, .1)
	ratio("answered", sum.rest.labelled, sum.rest.picked, .8)
	ratio("wrong among low confidence", sum.low.wrong, sum.low.labelled, low)
	ratio("wrong among the rest", sum.rest.wrong, sum.rest.labelled, rest)
	if swing := float64(busy) / float64(calm); swing < 2.5 {
		t.Errorf("the busy hours bring %.2f times the calm ones' traffic, want nearly three times", swing)
	}
}

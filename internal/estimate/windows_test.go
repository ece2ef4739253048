package estimate

import (
	"fmt"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"

	dg "driftgate"
)

// believed is one stratum as nature has it, with what the model believes: n
// predictions, m of them labelled at random, confidences in levels.
type believed struct {
	reason dg.Stratum
	n, m   int
	share  []float64 // of the predictions at each level, summing to 1
	f      []float64 // the confidence of each level, in whole thousandths
	right  []float64 // the chance of being right at each level
}

// window draws what happened in the strata: counts with their moments, and the
// realised number of right predictions.
func window(rng *rand.Rand, strata []believed) (counts []dg.StratumCount, right, total int) {
	for _, h := range strata {
		c := dg.StratumCount{Stratum: h.reason, Interval: newYear, Predictions: h.n, Selected: h.m, Labels: h.m}
		labelled, all := multinomial(rng, h.m, h.share), multinomial(rng, h.n-h.m, h.share)
		for i, f := range h.f {
			k := binomial(rng, labelled[i], h.right[i])
			right += k + binomial(rng, all[i], h.right[i])
			mil := int64(f*1000 + .5)
			c.Correct += k
			c.F += mil * int64(labelled[i]+all[i])
			c.FF += mil * mil * int64(labelled[i]+all[i])
			c.LabelF += mil * int64(labelled[i])
			c.LabelFF += mil * mil * int64(labelled[i])
			c.LabelYF += 1000 * mil * int64(k)
			c.LabelYY += 1e6 * int64(k)
		}
		counts = append(counts, c)
		total += h.n
	}
	return counts, right, total
}

// multinomial deals n by the shares.
func multinomial(rng *rand.Rand, n int, share []float64) []int {
	out := make([]int, len(share))
	left := 1.0
	for i, s := range share {
		if i == len(share)-1 || s >= left {
			out[i] = n
			break
		}
		out[i] = binomial(rng, n, s/left)
		n -= out[i]
		left -= s
	}
	return out
}

// model is how confident a classifier is and how right it is to be.
type model struct {
	accuracy float64                 // of a calibrated model, roughly
	sharp    float64                 // how spread the confidences are: small is many near 0 and near 1
	truth    func(f float64) float64 // chance of being right at a confidence; nil: calibrated
}

// traffic is a window as the service samples it: all predictions with a
// confidence below `hard` are low-confidence and picked completely, of which the
// share `late` is not labelled yet, a hundredth is flagged, and m of the rest
// are random picks, evenly over the curate intervals.
type traffic struct {
	n, m      int
	late      float64
	hard      float64
	intervals int
}

func (mo model) strata(t traffic) []believed {
	levels := 24
	if t.intervals > 1 {
		levels = 8 // as drawing takes its time
	}
	beta := distuv.Beta{Alpha: mo.accuracy * mo.sharp, Beta: (1 - mo.accuracy) * mo.sharp}
	random, low := believed{reason: dg.Random}, believed{reason: dg.LowConfidence}
	for i := range levels {
		f := float64(int(1000*max(.1, beta.Quantile((float64(i)+.5)/float64(levels)))+.5)) / 1000
		right := f
		if mo.truth != nil {
			right = mo.truth(f)
		}
		h := &random
		if f < t.hard {
			h = &low
		}
		h.f, h.right = append(h.f, f), append(h.right, clamp(right))
	}
	flagged := believed{reason: dg.Flagged, n: t.n / 100, m: t.n / 100, f: []float64{.7, .95}, right: []float64{.2, .3}}
	low.n = (t.n - flagged.n) * len(low.f) / levels
	low.m = int(float64(low.n)*(1-t.late) + .5)
	random.n = t.n - flagged.n - low.n
	random.m = min(t.m, random.n)
	var out []believed
	for _, h := range []believed{random, low, flagged} {
		for range h.f {
			h.share = append(h.share, 1/float64(len(h.f)))
		}
		parts := max(1, t.intervals)
		for i := range parts {
			part := h
			part.n, part.m = h.n*(i+1)/parts-h.n*i/parts, h.m*(i+1)/parts-h.m*i/parts
			if part.n > 0 {
				out = append(out, part)
			}
		}
	}
	return out
}

// over is what bounds did over many runs of one cell.
type over struct {
	runs, covered, below, above int // below: the truth lay below the lower bound
	own                         int // bounds of the estimator itself
	width, bias, square, claim  float64
}

func (o *over) add(e dg.Estimate, truth float64) {
	o.runs++
	switch {
	case truth < e.Lower-1e-12:
		o.below++
	case truth > e.Upper+1e-12:
		o.above++
	default:
		o.covered++
	}
	if e.BoundsOf == "" {
		o.own++
	}
	o.width += e.Upper - e.Lower
	o.bias += e.Accuracy - truth
	o.square += (e.Accuracy - truth) * (e.Accuracy - truth)
	o.claim += e.StandardError * e.StandardError
}

func (o over) of(n int) float64       { return float64(n) / float64(max(1, o.runs)) }
func (o over) mean(x float64) float64 { return x / float64(max(1, o.runs)) }
func (o over) coverage() float64      { return o.of(o.covered) }
func (o over) meanWidth() float64     { return o.mean(o.width) }

func (o over) String() string {
	return fmt.Sprintf("coverage %.4f, width %.4f, bias %+.4f", o.coverage(), o.meanWidth(), o.mean(o.bias))
}

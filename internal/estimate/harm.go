package estimate

import (
	"math"
)

// MaxBlock bounds the blocks that [Harm] takes: each lies within -MaxBlock and
// MaxBlock. A difference of errors lies within 1; the room above it lets blocks
// hold unequal weights and still have the slot's weighted difference as their
// exact mean (see [DealDifferences]).
const MaxBlock = 1.25

// harmBets are the bets of the mixtures. The best bet against a mean that lies
// delta beyond its bound is about delta/(v + delta^2), v the variance of a
// block: models that differ on a tenth of the images have v = .1 a label, so
// these reach from one point beyond to everything. All are below 1/(MaxBlock +
// 1/20), so that no factor is negative for margins up to .05; larger margins
// shrink them.
var harmBets = [...]float64{.05, .1, .2, .4, .73}

// Harm is the evidence on whether one model is worse than another on the same
// labelled production samples, that may be looked at after every slot. It is a
// plain value: [Harm.Add] returns the next and leaves the old as it was, and
// its JSON is all of it. Make it with [NewHarm]; the zero value has margin 0.
//
// The blocks of a slot are differences d of errors, the second model's less the
// first's, each within ±MaxBlock: above 0 the second errs more. Each side is a
// mixture over a fixed grid of bets of
//
//	W(lambda) = product over slots and blocks of 1 + lambda (d - margin)   worse
//	B(lambda) = product over slots and blocks of 1 - lambda d              better
//
// (betting e-processes: Waudby-Smith & Ramdas 2023, arXiv 2010.09686). Promise:
// if in every slot the weighted difference of the errors is at most margin, the
// chance that Worse ever reaches 1/alpha is at most alpha, however often one
// looks; likewise for Better if it is never below 0.
//
// Proof. Let D_b be the mean of block b given the past and how the slot was
// dealt, which knows no answer, and D = (1/B) sum D_b the slot's weighted
// difference. The picks of a slot are independent given the past (or drawn
// without replacement, hence negatively associated, which only lowers the
// mean of a product of factors that all rise with d, Joag-Dev & Proschan 1983),
// so for a fixed lambda the mean of the slot's product is at most the product
// of 1 + lambda (D_b - margin), which by the inequality of arithmetic and
// geometric means is at most (1 + lambda (D - margin))^B, and that is at most 1
// when D <= margin. No factor is negative, so W(lambda) and any mixture of them
// is a nonnegative supermartingale over slots that begins at 1, and Ville's
// inequality ends it. Whether and when a slot closes, and what B is, may depend
// on the past and on counts, never on what the slot's labels say; therefore one
// Add is one whole slot, and between its blocks nobody looks.
type Harm struct {
	Margin  float64   `json:"margin"` // how much worse is still borne, 0 to 1
	Slots   int       `json:"slots"`  // that had blocks
	Blocks  int       `json:"blocks"`
	Sum     float64   `json:"sum"`              // of the blocks' differences
	Squares float64   `json:"squares"`          // of the same
	Up      []float64 `json:"worse,omitempty"`  // log W(lambda), a bet each
	Down    []float64 `json:"better,omitempty"` // log B(lambda)
}

// NewHarm has seen nothing. A margin that is not within 0 to .9 is taken as the
// nearer end.
func NewHarm(margin float64) Harm {
	return Harm{Margin: max(0, min(.9, margin))}
}

// Add counts the blocks of one closed slot; none leave h as it is. Blocks
// beyond ±MaxBlock count as that, NaN as 0; [DealDifferences] makes neither.
func (h Harm) Add(blocks ...float64) Harm {
	if len(blocks) == 0 {
		return h
	}
	up, down := make([]float64, len(harmBets)), make([]float64, len(harmBets))
	copy(up, h.Up)
	copy(down, h.Down)
	h.Up, h.Down = up, down
	h.Slots++
	for _, d := range blocks {
		if d != d {
			d = 0
		}
		d = max(-MaxBlock, min(MaxBlock, d))
		h.Blocks++
		h.Sum += d
		h.Squares += d * d
		for j, lambda := range harmBets {
			h.Up[j] += math.Log1p(h.bet(lambda) * (d - h.Margin))
			h.Down[j] += math.Log1p(-lambda * d)
		}
	}
	return h
}

// bet is a bet against the margin that leaves every factor over 0.
func (h Harm) bet(lambda float64) float64 { return min(lambda, .95/(MaxBlock+h.Margin)) }

// Worse is the evidence that the second model errs more than the first by over
// the margin: 1 before the first slot, at most 1e250. At 1/alpha it is shown,
// with error alpha for all looks together.
func (h Harm) Worse() float64 { return mixture(h.Up) }

// Better is the evidence that the second model errs less than the first.
func (h Harm) Better() float64 { return mixture(h.Down) }

// mixture is the mean of the exponentials.
func mixture(logs []float64) float64 {
	if len(logs) == 0 {
		return 1
	}
	var sum float64
	for _, l := range logs {
		sum += math.Exp(min(l, math.Log(maxEvidence))) / float64(len(logs))
	}
	return min(sum, maxEvidence)
}

// Difference is the mean of the blocks so far: the second model's error less
// the first's, weighted by the design; 0 before the first slot.
func (h Harm) Difference() float64 {
	if h.Blocks == 0 {
		return 0
	}
	return h.Sum / float64(h.Blocks)
}

// Interval is a confidence sequence of the mean difference: it holds after
// every slot at once with probability 1-alpha, for a difference that stays what
// it is. Without blocks it is -1 to 1.
//
// It is the hedged capital of Waudby-Smith & Ramdas with each factor replaced by
// a lower bound, so that three sums are all of the past: for x >= -l, 0 < l < 1,
// log(1+x) >= x - x^2 (-log(1-l) - l)/l^2 (Fan, Grama & Liu 2015). With
// x = lambda (d - m), l = lambda (MaxBlock + m), the capital against "the mean is
// m, or less" is at least the mean over the bets of
//
//	exp(lambda (S - n m) - g(l) lambda^2 (Q - 2 m S + n m^2)), g(l) = (-log(1-l) - l)/l^2
//
// n, S, Q the number, sum and sum of squares of the blocks. Bets with l > .95
// count as nothing. m is outside when this, or its mirror image against "the
// mean is m, or more", reaches 2/alpha.
func (h Harm) Interval(alpha float64) (lower, upper float64) {
	if h.Blocks == 0 || !(alpha > 0 && alpha < 1) {
		return -1, 1
	}
	need := math.Log(2 / alpha)
	n := float64(h.Blocks)
	lower = lowestMean(func(m float64) bool { return lowerCapital(n, h.Sum, h.Squares, m) >= need })
	upper = -lowestMean(func(m float64) bool { return lowerCapital(n, -h.Sum, h.Squares, m) >= need })
	mid := max(-1, min(1, h.Difference()))
	return min(lower, mid), max(upper, mid)
}

// lowerCapital is the log of a lower bound of the capital against means up to m.
func lowerCapital(n, sum, squares, m float64) float64 {
	spread := squares - 2*m*sum + n*m*m
	var logs [len(harmBets)]float64
	best := math.Inf(-1)
	for j, lambda := range harmBets {
		logs[j] = math.Inf(-1)
		if l := lambda * (MaxBlock + m); l <= .95 {
			g := (-math.Log1p(-l) - l) / (l * l)
			logs[j] = lambda*(sum-n*m) - g*lambda*lambda*spread
		}
		best = max(best, logs[j])
	}
	var total float64
	for _, l := range logs {
		total += math.Exp(l - best)
	}
	return best + math.Log(total/float64(len(harmBets)))
}

// lowestMean is the least mean within -1 and 1 that is not out. It is looked
// for on a grid from below first: out need not hold for all means below one.
func lowestMean(out func(m float64) bool) float64 {
	const step = 1. / 256
	at := -1.0
	for at < 1 && out(at) {
		at += step
	}
	if at <= -1 {
		return -1
	}
	return edge(func(m float64) bool { return !out(m) }, at-step, min(1, at))
}

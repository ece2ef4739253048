package estimate

import (
	"math"
)

// Tally sums what is known of one part of the predictions within one reason for
// labelling: over its labelled samples the weight w (the predictions that each
// stands for, more than 0), w times right (0 or 1), and w squared.
type Tally struct {
	Group   string // the reason; empty where every sample weighs alike
	Samples int
	Weight  float64
	Right   float64
	Squares float64
}

// Add counts one sample.
func (t *Tally) Add(weight float64, right bool) {
	t.Samples++
	t.Weight += weight
	t.Squares += weight * weight
	if right {
		t.Right += weight
	}
}

// Part is one part of the predictions, such as a class: a tally a reason.
type Part []Tally

// Weight is the predictions that the part stands for.
func (p Part) Weight() (sum float64) {
	for _, t := range p {
		sum += t.Weight
	}
	return sum
}

// Samples is the number of labelled samples in it.
func (p Part) Samples() (n int) {
	for _, t := range p {
		n += t.Samples
	}
	return n
}

// Rate is the weighted accuracy of the part with two-sided bounds at 1-alpha,
// for the rate behind it. They are melded Betas as those of [Stratified], each
// reason worth Kish's (sum w)^2 / sum w^2 labels; since how the part is spread
// over the reasons is itself estimated, sum W_g^2 (p_g - p)^2 / m_g is added
// (linearised ratio estimator, Särndal, Swensson & Wretman 1992, section 5.8).
// One reason, all weights alike: exactly Clopper & Pearson. Without samples it is
// 0 within 0 and 1.
func (p Part) Rate(alpha float64) (value, lower, upper float64) {
	cells, value, extra := p.cells()
	if len(cells) == 0 {
		return 0, 0, 1
	}
	return value, min(value, meldAt(cells, 0, extra, alpha/2)), max(value, meldAt(cells, 1, extra, alpha/2))
}

// cells are the part as [meld] sees it, its accuracy, and the variance of its
// mix of reasons.
func (p Part) cells() (cells []cell, value, extra float64) {
	total := p.Weight()
	if !(total > 0) {
		return nil, 0, 0
	}
	for _, t := range p {
		if t.Weight <= 0 {
			continue
		}
		c := cell{m: t.Weight * t.Weight / t.Squares, open: t.Weight / total, left: math.Inf(1)}
		c.k = min(1, t.Right/t.Weight) * c.m
		value += t.Right / total
		cells = append(cells, c)
	}
	value = clamp(value)
	for _, c := range cells {
		d := c.k/c.m - value
		extra += c.open * c.open * d * d / c.m
	}
	return cells, value, extra
}

// WeakerP is the one-sided p-value of "the part is no less accurate than the
// rest", .5e-12 to .5; .5 too where the part is not less accurate, and where one
// of them is empty. It inverts the MOVER bound of the difference (Zou & Donner
// 2008) of two independent rates, each with the bounds of [Part.Rate].
func WeakerP(part, rest Part) float64 {
	weaker, ok := contrastOf(part, rest)
	if !ok {
		return .5
	}
	return smallestTail(weaker)
}

// Weaker reports whether [WeakerP] is below level, over 0 and at most .5, at a
// small part of its cost.
func Weaker(part, rest Part, level float64) bool {
	weaker, ok := contrastOf(part, rest)
	return ok && weaker(level)
}

// contrastOf tells at each level whether part is less accurate than the rest;
// not ok when it does not even look so.
func contrastOf(part, rest Part) (weaker func(level float64) bool, ok bool) {
	a, p, extraP := part.cells()
	b, q, extraQ := rest.cells()
	if len(a) == 0 || len(b) == 0 || p >= q {
		return nil, false
	}
	return func(level float64) bool {
		up := max(0, meldAt(a, 1, extraP, level)-p)
		down := max(0, q-meldAt(b, 0, extraQ, level))
		return p-q+math.Hypot(up, down) < 0
	}, true
}

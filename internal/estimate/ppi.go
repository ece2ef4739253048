package estimate

import (
	"fmt"
	"math"
	"slices"

	dg "driftgate"
)

// Lambdas says for each reason how far `ppi` trusts the model's confidence: 0
// not at all, 1 as if it were the answer. They must come from labels other than
// those they are used on, or the standard error would be too small.
type Lambdas map[dg.Stratum]float64

// of is the lambda of a reason, within [0, 1]; what is no number counts as 0.
func (l Lambdas) of(reason dg.Stratum) float64 {
	if x := l[reason]; x > 0 {
		return min(1, x)
	}
	return 0
}

// The least that lies behind `ppi`'s own bounds, counted in labels of a simple
// random sample of the predictions that are not labelled. TestPPIBoundsCover
// justifies them.
const (
	ppiLabels = 100 // labels
	ppiEach   = 40  // of them wrong, and of them right
)

// LambdasOf fits the lambdas to the labels of an earlier window: per reason,
// over all its curate intervals, the slope of the answers y on the confidence
// f, Cov(y, f)/Var(f), which makes the variance of [PPI] smallest (PPI++:
// Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453, section 6; the mean of f
// is known over all predictions of a stratum, the labelled ones included, so
// its factor 1/(1+n/N) does not arise). Each is clipped to [0, 1], and 0 with
// fewer than two labels or where f is constant.
func LambdasOf(earlier []dg.StratumCount) Lambdas {
	sums := map[dg.Stratum]proxied{}
	for _, c := range earlier {
		h, err := proxy(c)
		if err != nil {
			continue // figures of that stratum refuse it too
		}
		g := sums[c.Stratum]
		g.addLabels(h)
		sums[c.Stratum] = g
	}
	l := Lambdas{}
	for reason, g := range sums {
		l[reason] = 0
		if _, yf, ff := g.centred(); g.m >= 2 && ff > g.m*1e-9 {
			l[reason] = clamp(yf / ff)
		}
	}
	return l
}

// proxied is one stratum with the sums behind [PPI], in whole units: y is the
// share of people who agree with the model, f its confidence.
type proxied struct {
	group      dg.Stratum
	n, m       float64
	all        float64 // sum of f over all n predictions
	y, f       float64 // sums over the m labelled
	yy, yf, ff float64
}

// proxy reads a stratum's sums. The error is [dg.ErrInvalid] when they cannot
// belong to the counts.
func proxy(c dg.StratumCount) (proxied, error) {
	const slack = 1e-6
	h := proxied{
		group: c.Stratum, n: float64(max(c.Predictions, c.Labels)), m: float64(c.Labels),
		all: float64(c.F) / 1e3, y: c.Agreement(), f: float64(c.LabelF) / 1e3,
		yy: float64(c.LabelYY) / 1e6, yf: float64(c.LabelYF) / 1e6, ff: float64(c.LabelFF) / 1e6,
	}
	if c.Labels > c.Predictions { // labels known without their predictions: they are all there is
		h.all = h.f
	}
	switch {
	case c.Predictions < 0 || c.Labels < 0 || h.y < 0 || h.y > h.m,
		h.all < 0 || h.all > h.n+slack || h.f < 0 || h.f > h.m+slack,
		h.yy > h.y+slack || h.ff > h.f+slack || h.yf > min(h.y, h.f)+slack || h.yf < 0,
		h.yy*h.m < h.y*h.y-slack || h.ff*h.m < h.f*h.f-slack:
		return proxied{}, fmt.Errorf("stratum %s of %s: sums %+v do not belong to %d predictions, %d labels, %g correct: %w",
			c.Stratum, c.Interval.UTC().Format("2006-01-02T15:04Z"), c.Moments, c.Predictions, c.Labels, h.y, dg.ErrInvalid)
	}
	return h, nil
}

// addLabels adds the sums over the labelled of n.
func (h *proxied) addLabels(n proxied) {
	h.m += n.m
	h.y += n.y
	h.f += n.f
	h.yy += n.yy
	h.yf += n.yf
	h.ff += n.ff
}

// centred are the sums of squares and products about the means of the labelled.
func (h proxied) centred() (yy, yf, ff float64) {
	if h.m == 0 {
		return 0, 0, 0
	}
	return max(0, h.yy-h.y*h.y/h.m), h.yf - h.y*h.f/h.m, max(0, h.ff-h.f*h.f/h.m)
}

// residual is the sample variance of y - lambda f over the labelled, with m-1.
func (h proxied) residual(lambda float64) float64 {
	if h.m < 2 {
		return (1 + lambda) * (1 + lambda) / 4 // the most that a variable within [-lambda, 1] can have
	}
	yy, yf, ff := h.centred()
	return max(0, yy-2*lambda*yf+lambda*lambda*ff) / (h.m - 1)
}

// PPI is the prediction-powered estimate of the accuracy over all predictions
// of a window (PPI++: Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453), per
// stratum and combined by its share: the mean of the answers, moved by lambda
// times how much the confidence of all predictions exceeds that of the labelled
// ones. A prediction without a confidence counts with 0: that costs precision,
// not truth. It is unbiased whatever the confidence is worth, and with every
// lambda 0 it is [Stratified].
//
// Its own bounds, point +- z SE clamped to [0, 1] with Var = sum W^2 (1-m/N)
// s^2(y - lambda f)/m, hold only with enough labels, wrong ones and right ones;
// else, with every lambda 0, or when strata lack labels, they are those of
// [Stratified], stretched to hold the point, and BoundsOf says so. Errors are
// those of [Stratified]; also [dg.ErrInvalid] for sums that cannot belong to
// the counts and [dg.ErrTooFewSamples] when no prediction has a confidence.
func PPI(counts []dg.StratumCount, l Lambdas) (dg.Estimate, error) {
	e, err := Stratified(FromCounts(counts))
	if err != nil {
		return dg.Estimate{}, fmt.Errorf("estimate: ppi: %w", err)
	}
	return sharpen(e, counts, l)
}

// sharpen is [PPI] where [Stratified] is known already.
func sharpen(e dg.Estimate, counts []dg.StratumCount, l Lambdas) (dg.Estimate, error) {
	strata, groups, err := proxies(counts)
	if err != nil {
		return dg.Estimate{}, fmt.Errorf("estimate: ppi: %w", err)
	}
	var total, seen, all float64
	for _, h := range strata {
		total += h.n
		all += h.all
		if h.m > 0 {
			seen += h.n
		}
	}
	if all <= 0 {
		return dg.Estimate{}, fmt.Errorf("estimate: ppi: none of %g predictions has a confidence: %w", total, dg.ErrTooFewSamples)
	}
	var reasons []*ppiReason // in the order of their appearance, so that sums come out the same each time
	var point, variance, design float64
	for _, h := range strata {
		if h.m == 0 {
			continue
		}
		w, lambda := h.n/seen, l.of(h.group)
		point += w * (h.y/h.m + lambda*(h.all/h.n-h.f/h.m))
		open := w * w * (1 - h.m/h.n) / h.m
		spread := h
		if h.m < 2 {
			spread = groups[h.group]
		}
		variance += open * spread.residual(lambda)
		design += open
		i := slices.IndexFunc(reasons, func(r *ppiReason) bool { return r.name == h.group })
		if i < 0 {
			i = len(reasons)
			reasons = append(reasons, &ppiReason{name: h.group, lambda: lambda})
		}
		reasons[i].add(h, open, w)
	}
	lower, upper := e.Lower, e.Upper
	e.Estimator, e.Accuracy, e.StandardError = NamePPI, clamp(point), math.Sqrt(variance)
	e.EffectiveLabels = effective(e.Accuracy, variance, design, seen)
	if extra, ok := enough(reasons, variance); ok && !e.Partial {
		half := normalQuantile(1-tail) * math.Sqrt(variance+extra)
		e.Lower, e.Upper = clamp(e.Accuracy-half), clamp(e.Accuracy+half)
		return e, nil
	}
	e.BoundsOf = NameStratified
	e.Lower, e.Upper = min(lower, e.Accuracy), max(upper, e.Accuracy)
	return e, nil
}

// proxies reads every stratum that has predictions, and the sums over the
// labelled of each reason.
func proxies(counts []dg.StratumCount) (strata []proxied, groups map[dg.Stratum]proxied, err error) {
	groups = map[dg.Stratum]proxied{}
	for _, c := range counts {
		h, err := proxy(c)
		if err != nil {
			return nil, nil, err
		}
		if h.n == 0 {
			continue
		}
		strata = append(strata, h)
		g := groups[h.group]
		g.addLabels(h)
		groups[h.group] = g
	}
	return strata, groups, nil
}

// ppiReason is what decides whether the strata of one reason carry [PPI]'s own
// bounds.
type ppiReason struct {
	name        dg.Stratum
	lambda      float64
	u, up, uu   float64 // as in [meldCells]: shares of predictions without a label
	uncertainty float64 // sum W^2 (1-m/N)/m
}

func (r *ppiReason) add(h proxied, open, w float64) {
	u := w * (1 - h.m/h.n)
	r.u += u
	r.up += u * h.y / h.m
	r.uu += u * u / h.m
	r.uncertainty += open
}

// enough reports whether the Wald bounds of [PPI] may be trusted. A reason with
// too few labels, wrong or right ones is borne when it hardly counts: with the
// largest variance that it can have (extra), below a tenth of the whole.
func enough(reasons []*ppiReason, variance float64) (extra float64, ok bool) {
	for _, r := range reasons {
		if r.u <= 0 {
			continue
		}
		m := r.u * r.u / r.uu
		right := r.up / r.u * m
		if m < ppiLabels || right < ppiEach || m-right < ppiEach {
			extra += r.uncertainty * (1 + r.lambda) * (1 + r.lambda) / 4
		} else if r.lambda > 0 {
			ok = true
		}
	}
	return extra, ok && extra < variance/10
}

// PPIResult is the plain prediction-powered estimate of a mean.
type PPIResult struct {
	Lambda        float64
	Mean          float64
	StandardError float64
	Lower, Upper  float64
}

// PPIMean is the unstratified form, for one random sample of labels: lambda =
// Cov(y, f)/((1 + n/N) Var f) with Cov over the n labelled and Var over them
// and the N unlabelled together, both with ddof 1; mean(y) + lambda
// (mean(fUnlabelled) - mean(fLabelled)); Var = lambda^2 Var(fUnlabelled)/N +
// Var(y - lambda f)/n (PPI++, arXiv 2311.01453; ppi_mean_ci of ppi_py). Nothing
// is clipped or clamped. y = 1,2, fLabelled = 1,2, fUnlabelled = 3,4 at .90 give
// lambda .15, 1.8 and 1.090136 to 2.509864. Lambda is fitted to the same labels,
// so few of them make the bounds too narrow. Errors: [dg.ErrInvalid] for lists
// that do not fit, values that are not finite or a confidence outside (0, 1);
// [dg.ErrTooFewSamples] with fewer than two of either.
func PPIMean(y, fLabelled, fUnlabelled []float64, confidence float64) (PPIResult, error) {
	if len(y) != len(fLabelled) || !(confidence > 0 && confidence < 1) {
		return PPIResult{}, fmt.Errorf("estimate: ppi mean: %d answers, %d predictions of them, confidence %g: want as many, a confidence between 0 and 1: %w", len(y), len(fLabelled), confidence, dg.ErrInvalid)
	}
	if len(y) < 2 || len(fUnlabelled) < 2 {
		return PPIResult{}, fmt.Errorf("estimate: ppi mean: %d labelled, %d unlabelled: want at least 2 of each: %w", len(y), len(fUnlabelled), dg.ErrTooFewSamples)
	}
	n, free := float64(len(y)), float64(len(fUnlabelled))
	meanY, _ := moments(y)
	meanF, _ := moments(fLabelled)
	meanU, varU := moments(fUnlabelled)
	_, varAll := moments(append(append([]float64{}, fLabelled...), fUnlabelled...))
	var cov float64
	for i := range y {
		cov += (y[i] - meanY) * (fLabelled[i] - meanF) / (n - 1)
	}
	var r PPIResult
	if varAll > 0 {
		r.Lambda = cov / ((1 + n/free) * varAll)
	}
	r.Mean = meanY + r.Lambda*(meanU-meanF)
	rest := make([]float64, len(y))
	for i := range y {
		rest[i] = y[i] - r.Lambda*fLabelled[i]
	}
	_, varRest := moments(rest)
	r.StandardError = math.Sqrt(r.Lambda*r.Lambda*varU/free + varRest/n)
	half := normalQuantile(1-(1-confidence)/2) * r.StandardError
	r.Lower, r.Upper = r.Mean-half, r.Mean+half
	if math.IsNaN(r.Upper-r.Lower) || math.IsInf(r.Upper-r.Lower, 0) {
		return PPIResult{}, fmt.Errorf("estimate: ppi mean: no finite result: want finite values: %w", dg.ErrInvalid)
	}
	return r, nil
}

// moments are the mean and the sample variance (ddof 1).
func moments(x []float64) (mean, variance float64) {
	n := float64(len(x))
	for _, v := range x {
		mean += v / n
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / (n - 1)
	}
	return mean, variance
}

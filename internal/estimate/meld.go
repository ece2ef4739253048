package estimate

import "math"

// cell is what the melded bound needs of one stratum, or of the strata of one
// group: m labels of which k were right (effective numbers, so not whole), the
// share of all predictions that is already known right, and the share and
// number of predictions still open.
type cell struct {
	k, m  float64 // labels behind the open part
	known float64 // W f k/m: the labelled predictions that were right, as a share of all
	open  float64 // W (1-f): the unlabelled predictions, as a share of all
	left  float64 // their number, M = N - m; +Inf when the bound is for the rate itself
}

// meldCells turns strata into cells, one a group. Strata without a label keep a
// cell of their own, about which nothing is known. With rate, nothing counts as
// already known: the cells describe the rate behind the window, not the
// window's realised accuracy.
//
// Within a group the open shares u_h = W_h (1-f_h) weigh the strata: the group's
// ratio is sum u p / sum u, and its labels are worth as many as (sum u)^2 /
// sum(u^2/m) of a simple random sample (Kish). One stratum a group is the plain
// form. Without this, a window of many small strata (five random picks in each
// curate interval) would pay the added success or failure of the exact bound
// once a stratum: bounds ten points wide that no number of labels narrows.
func meldCells(s []Stratum, total float64, rate bool) []cell {
	var cells []cell
	type sums struct{ u, up, uu, known, left float64 }
	groups := map[string]*sums{}
	var order []string
	for _, h := range s {
		w, n, m := float64(h.N)/total, float64(h.N), float64(h.M)
		c := cell{k: h.K, m: m, open: w, left: math.Inf(1)}
		if !rate {
			c.known, c.open, c.left = w*c.k/n, w*(1-m/n), n-m
		}
		if h.Group == "" || h.M == 0 {
			cells = append(cells, c)
			continue
		}
		g := groups[h.Group]
		if g == nil {
			g = &sums{}
			groups[h.Group] = g
			order = append(order, h.Group)
		}
		g.known += c.known
		g.left += c.left
		g.u += c.open
		g.up += c.open * c.k / m
		g.uu += c.open * c.open / m
	}
	for _, name := range order {
		g := groups[name]
		c := cell{known: g.known, open: g.u, left: g.left}
		if g.u > 0 {
			c.m = g.u * g.u / g.uu
			c.k = min(1, g.up/g.u) * c.m
		}
		cells = append(cells, c)
	}
	return cells
}

// meld is the lower (s = 0) or upper (s = 1) 97.5% bound of the accuracy: a
// melded Beta (Fay, Proschan & Brittain 2015) with the moments matched as in
// Fay & Feuer 1997. Per cell the unknown ratio of the open part is Beta(k+s,
// m-k+1-s), and the realised one beta-binomial over its left predictions; their
// weighted sum is matched by one Beta, whose quantile is the bound. extra is
// variance beyond the cells' own, in units of the accuracy squared.
//
// One stratum with N to infinity is exactly Clopper-Pearson; a full census is
// the point; a stratum without labels runs from 0 to its weight.
func meld(cells []cell, s float64, extra float64) float64 { return meldAt(cells, s, extra, tail) }

// meldAt is [meld] with tail left outside on its side, between 0 and 1.
func meldAt(cells []cell, s, extra, tail float64) float64 {
	var known, open, sum, variance float64
	for _, c := range cells {
		known += c.known
		open += c.open
		a, b := c.k+s, c.m-c.k+1-s
		mu := a / (a + b)
		sum += c.open * mu
		variance += c.open * c.open * openVariance(mu, a+b, c.left)
	}
	if open <= 0 {
		return clamp(known)
	}
	mean := clamp(sum / open)
	variance = (variance + extra) / (open * open)
	p := tail
	if s == 1 {
		p = 1 - tail
	}
	return clamp(known + open*matchedQuantile(p, mean, variance))
}

// openVariance is the variance of the realised ratio among left draws whose
// rate is Beta with mean mu and a+b = size: beta-binomial, or plain Beta when
// left is infinite.
func openVariance(mu, size, left float64) float64 {
	v := mu * (1 - mu) / (size + 1)
	switch {
	case left <= 0:
		return 0
	case math.IsInf(left, 1):
		return v
	}
	return v * (size + left) / left
}

// matchedQuantile is the p-quantile of the Beta with this mean and variance. A
// variance that no Beta reaches is that of a coin with this mean.
func matchedQuantile(p, mean, variance float64) float64 {
	if variance <= 0 || mean <= 0 || mean >= 1 {
		return mean
	}
	t := mean*(1-mean)/variance - 1
	if t < 1e-9 {
		if p <= 1-mean {
			return 0
		}
		return 1
	}
	return betaQuantile(p, mean*t, (1-mean)*t)
}

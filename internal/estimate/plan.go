package estimate

import (
	"fmt"
	"sort"
	"time"

	dg "driftgate"
)

// PlanStratum is what the label planner knows of one reason for labelling.
type PlanStratum struct {
	Stratum     dg.Stratum `json:"stratum"`
	Predictions int        `json:"predictions"` // in the window
	Accuracy    float64    `json:"accuracy"`    // expected, 0 to 1
	Labels      int        `json:"labels"`      // in the window: those that come anyway; of the random stratum those of today, which the plan replaces
	Complete    bool       `json:"complete"`    // every prediction of it is picked
	Worth       float64    `json:"worth"`       // labels of an even random sample that one label is worth, 0 to 1; 0 is taken as 1
}

// Plan says how many random labels a wanted precision costs. Half-widths are
// half the distance of the two bounds, as a ratio: .02 is 2 points.
type Plan struct {
	Wanted       float64 `json:"wanted"`         // half-width asked for
	HalfWidth    float64 `json:"half_width"`     // half-width to expect with RandomLabels
	RandomLabels int     `json:"random_labels"`  // of the random stratum, in the window
	PerDay       float64 `json:"per_day"`        // the same, a day
	NowLabels    int     `json:"now_labels"`     // today's, of the random stratum, in the window
	NowPerDay    float64 `json:"now_per_day"`    // the same, a day
	NowHalfWidth float64 `json:"now_half_width"` // half-width to expect with NowLabels
	OtherLabels  int     `json:"other_labels"`   // of the other strata, in the window: they come anyway
}

// PlanFrom reads the planner's strata from a window's counts, one a reason that
// has predictions. Of the reasons other than random, all that is picked is taken
// as labelled in the end. The expected accuracy is (k+1/2)/(m+1), so that 30
// right of 30 is not taken for certainty, and a stratum without any label is
// planned for at its worst, 1/2. Worth is Kish's (sum u)^2/(sum u^2/m) over the
// number of labels, u the predictions without one: the same quota in busy and in
// quiet hours is worth less than its number.
func PlanFrom(counts []dg.StratumCount) []PlanStratum {
	var out []PlanStratum
	for _, reason := range dg.Strata {
		p := PlanStratum{Stratum: reason, Worth: 1}
		var k, m, u, uu float64
		for _, c := range counts {
			if c.Stratum != reason || c.Labels < 0 || c.Predictions < 0 {
				continue
			}
			n := max(c.Predictions, c.Labels)
			p.Predictions += n
			if reason == dg.Random {
				p.Labels += c.Labels
			} else {
				p.Labels += min(n, max(c.Labels, c.Selected))
			}
			k += min(float64(c.Labels), max(0, c.Agreement()))
			m += float64(c.Labels)
			if open := float64(n - c.Labels); c.Labels > 0 {
				u += open
				uu += open * open / float64(c.Labels)
			}
		}
		if p.Predictions == 0 {
			continue
		}
		p.Complete = p.Labels == p.Predictions
		p.Accuracy = (k + .5) / (m + 1)
		if uu > 0 {
			p.Worth = min(1, u*u/uu/m)
		}
		out = append(out, p)
	}
	return out
}

// PlanLabels finds the fewest random labels in a window for which the bounds of
// [Stratified] are to be expected no farther than halfWidth (a ratio between 0
// and 1) to either side, on average of the two. It takes the exact bounds at the
// expected number of right answers, before they are rounded to whole
// predictions, which may add one prediction a side.
//
// A half-width that labels of every random prediction would not reach, because
// other strata stay open, is [dg.ErrInvalid], and the plan holds the best that
// can be had; so are impossible strata and two of one reason. Without any
// prediction it is [dg.ErrTooFewSamples].
func PlanLabels(strata []PlanStratum, window time.Duration, halfWidth float64) (Plan, error) {
	if !(halfWidth > 0 && halfWidth < 1) || window <= 0 {
		return Plan{}, fmt.Errorf("estimate: plan labels: half-width %g over a window of %s: want between 0 and 1 (0.02 is 2 points) over more than 0s: %w", halfWidth, window, dg.ErrInvalid)
	}
	d, err := newPlanDesign(strata)
	if err != nil {
		return Plan{}, fmt.Errorf("estimate: plan labels: %w", err)
	}
	days := window.Hours() / 24
	p := Plan{
		Wanted: halfWidth, OtherLabels: d.others,
		NowLabels: d.random.Labels, NowPerDay: float64(d.random.Labels) / days, NowHalfWidth: d.halfWidth(d.random.Labels),
	}
	most := d.random.Predictions
	if d.halfWidth(0) > halfWidth {
		// The first label or two may widen a little before the next narrow;
		// below the width without any, more labels never widen.
		p.RandomLabels = sort.Search(most, func(m int) bool { return d.halfWidth(m) <= halfWidth })
	}
	p.PerDay = float64(p.RandomLabels) / days
	p.HalfWidth = d.halfWidth(p.RandomLabels)
	if p.HalfWidth > halfWidth {
		return p, fmt.Errorf("estimate: plan labels: half-width %g over %s: the best is %.4f, with a label for each of %d random predictions, as other strata stay open: want at least that: %w",
			halfWidth, window, p.HalfWidth, most, dg.ErrInvalid)
	}
	return p, nil
}

// planDesign is a window with one number open: its random labels.
type planDesign struct {
	random PlanStratum
	fixed  []cell // the other strata
	total  float64
	others int
}

func newPlanDesign(strata []PlanStratum) (planDesign, error) {
	var d planDesign
	seen := map[dg.Stratum]bool{}
	for _, h := range strata {
		if h.Predictions < 0 || h.Labels < 0 || h.Labels > h.Predictions || !(h.Accuracy >= 0 && h.Accuracy <= 1) || !(h.Worth >= 0 && h.Worth <= 1) || seen[h.Stratum] {
			return d, fmt.Errorf("stratum %+v: want each reason once, labels within predictions, accuracy and worth 0 to 1: %w", h, dg.ErrInvalid)
		}
		seen[h.Stratum] = true
		d.total += float64(h.Predictions)
	}
	if d.total == 0 {
		return d, fmt.Errorf("no predictions in %d strata: %w", len(strata), dg.ErrTooFewSamples)
	}
	for _, h := range strata {
		switch {
		case h.Stratum == dg.Random:
			d.random = h
		case h.Predictions > 0:
			d.others += h.Labels
			d.fixed = append(d.fixed, d.cell(h, h.Labels))
		}
	}
	return d, nil
}

// cell is the stratum as [meldCells] would see it with m labels that came out
// as expected.
func (d planDesign) cell(h PlanStratum, m int) cell {
	worth := h.Worth
	if worth == 0 {
		worth = 1
	}
	n, labels := float64(h.Predictions), float64(m)
	return cell{
		k: h.Accuracy * labels * worth, m: labels * worth,
		known: h.Accuracy * labels / d.total, open: (n - labels) / d.total, left: n - labels,
	}
}

// halfWidth is what to expect with m random labels.
func (d planDesign) halfWidth(m int) float64 {
	cells := d.fixed[:len(d.fixed):len(d.fixed)]
	if d.random.Predictions > 0 {
		cells = append(cells, d.cell(d.random, m))
	}
	return max(0, meld(cells, 1, 0)-meld(cells, 0, 0)) / 2
}

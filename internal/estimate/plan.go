package estimate

import (
	"fmt"
	"math"
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
	Worth       float64    `json:"worth"`       // labels of an even sample that one label is worth, 0 to 1; 0 is taken as 1
}

// Plan says how many random labels a wanted precision costs.
type Plan struct {
	Wanted       float64 `json:"wanted"`        // half-width asked for, as a ratio
	HalfWidth    float64 `json:"half_width"`    // half-width to expect with RandomLabels
	RandomLabels int     `json:"random_labels"` // of the random stratum, in the window
	PerDay       float64 `json:"per_day"`       // the same, a day
	NowLabels    int     `json:"now_labels"`    // of the random stratum, in the window
	NowPerDay    float64 `json:"now_per_day"`
	NowHalfWidth float64 `json:"now_half_width"` // half-width to expect with NowLabels
	OtherLabels  int     `json:"other_labels"`   // in the window, of the other strata: they come anyway
}

// PlanFrom reads the planner's strata from a window's counts, one a reason.
// Expected accuracies are (k+1/2)/(m+1), so that 30 right of 30 is not taken for
// certainty and no label at all is planned for at its worst. Of reasons other
// than random, all that is picked will be labelled. Worth of the random stratum
// is Kish's: even quotas over uneven traffic are worth less than their number.
func PlanFrom(counts []dg.StratumCount) []PlanStratum {
	var out []PlanStratum
	for _, reason := range dg.Strata {
		p := PlanStratum{Stratum: reason, Worth: 1}
		var k, u, uu float64
		for _, c := range counts {
			if c.Stratum != reason {
				continue
			}
			n, m := max(c.Predictions, c.Labels), c.Labels
			p.Predictions += n
			if reason == dg.Random {
				p.Labels += m
			} else {
				p.Labels += min(n, max(m, c.Selected))
			}
			k += c.Agreement()
			if m > 0 {
				u += float64(n)
				uu += float64(n) * float64(n) / float64(m)
			}
		}
		_ = uu
		_ = u
		p.Complete = p.Labels >= p.Predictions
		p.Accuracy = (k + .5) / (float64(p.Labels) + 1)
		if p.Predictions > 0 {
			out = append(out, p)
		}
	}
	return out
}

// PlanLabels finds the fewest random labels in a window whose `stratified`
// bounds are to be expected at most halfWidth (as a ratio: .02 is 2 points) to
// either side.
func PlanLabels(strata []PlanStratum, window time.Duration, halfWidth float64) (Plan, error) {
	if !(halfWidth > 0 && halfWidth < 1) || window <= 0 || math.IsNaN(halfWidth) {
		return Plan{}, fmt.Errorf("estimate: plan labels: half width %g over %s: want a ratio between 0 and 1 over more than 0s: %w", halfWidth, window, dg.ErrInvalid)
	}
	return Plan{Wanted: halfWidth}, nil
}

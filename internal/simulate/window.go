package simulate

import (
	"time"

	"driftgate/internal/estimate"
)

// Both alerts below look at the last 24 hours after each interval, and stay
// silent with fewer labels than this.
const (
	alertWindow = 24 * time.Hour
	alertLabels = 30
)

// window is a ring of the last intervals.
type window struct {
	ring []batch
	next int
}

func newWindow(o Options) window {
	return window{ring: make([]batch, max(1, int(alertWindow/o.Interval)))}
}

func (w *window) add(b batch) {
	b.answers = nil // only valid until the next interval
	w.ring[w.next] = b
	w.next = (w.next + 1) % len(w.ring)
}

// threshold is the alert as people write it for a dashboard: the weighted
// accuracy lies so many points below the reference. It knows the true accuracy.
type threshold struct {
	window
	below  float64
	firing bool
}

func newThreshold(o Options) *threshold {
	return &threshold{window: newWindow(o), below: o.Accuracy - o.Margin}
}

func (t *threshold) observe(b batch) (raised, firing bool) {
	t.add(b)
	accuracy, labels := t.weighted()
	before := t.firing
	t.firing = labels >= alertLabels && accuracy < t.below
	return t.firing && !before, t.firing
}

// weighted is the `stratified` estimate of the window: strata by reason and
// interval, those without labels left out.
func (t *threshold) weighted() (accuracy float64, labels int) {
	var right, weight float64
	for _, b := range t.ring {
		for _, c := range [...]cell{b.low, b.rest} {
			if c.labelled == 0 {
				continue
			}
			labels += c.labelled
			weight += float64(c.predictions)
			right += float64(c.predictions) * float64(c.labelled-c.wrong) / float64(c.labelled)
		}
	}
	if weight == 0 {
		return 0, 0
	}
	return right / weight, labels
}

// wilson is the alert of those who know that a figure has bounds: the 95%
// interval of the plain share of right labels lies below the reference. It
// knows the true share, and looks after every interval.
type wilson struct {
	window
	share  float64
	firing bool
}

func newWilson(o Options, random int) *wilson {
	low, rest, _ := o.errorRates(0) // Validate has made sure
	l, r := o.picksPerInterval(random)
	return &wilson{window: newWindow(o), share: 1 - (l*low+r*rest)/(l+r)}
}

func (w *wilson) observe(b batch) (raised, firing bool) {
	w.add(b)
	var right, labels int
	for _, b := range w.ring {
		labels += b.low.labelled + b.rest.labelled
		right += b.low.labelled - b.low.wrong + b.rest.labelled - b.rest.wrong
	}
	before := w.firing
	_, upper := estimate.Wilson(right, labels, estimate.Confidence)
	w.firing = labels >= alertLabels && upper < w.share
	return w.firing && !before, w.firing
}

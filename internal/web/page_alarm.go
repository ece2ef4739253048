package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

// alarmBox is the drift alarm as the pages show it.
type alarmBox struct {
	metrics.AlarmStatus
	Title string
	Words []string
	Hope  string  // what fall it would see when
	Shown float64 // the evidence that counts, in years: at the crossing while the alarm fires
	Share float64 // Shown over the threshold, 0 to 1, on a logarithmic scale
	Late  bool    // quiet, while the figure beside it is not well
}

// Lamp is the colour of the alarm's lamp, as its style class has it.
func (b alarmBox) Lamp() string {
	switch {
	case b.Late:
		return "late"
	case b.Watching || b.State != estimate.Quiet:
		return string(b.State)
	}
	return "idle"
}

// ReferenceShare is how far the reference is, in units of its meter's 200.
func (b alarmBox) ReferenceShare() float64 {
	return round1(200 * min(float64(b.ReferenceLabels)/float64(max(b.ReferenceNeeded, 1)), 1))
}

// beside holds the alarm against the figures that stand next to it, the chosen
// window's first. They may tell different stories for a while, and then the
// page has to say why.
func (b *alarmBox) beside(chosen dg.Accuracy, all []dg.Accuracy) {
	if !b.Watching || b.State != estimate.Quiet {
		return
	}
	for _, w := range append([]dg.Accuracy{chosen}, all...) {
		e, ok := w.Estimate(headline)
		if !ok || e.Upper >= 1-b.P0 {
			continue
		}
		b.Late, b.Title = true, "No alarm yet"
		b.Words = append(b.Words, fmt.Sprintf("The figure of the last %s lies below that. The alarm judges a slot once, when its time for labels is over, and an image without a label counts as right: late labels make it slow.", w.Window))
		return
	}
}

// boxOf says in words what the alarm's state means and what it waits for.
func boxOf(a metrics.AlarmStatus) alarmBox {
	b := alarmBox{AlarmStatus: plainAlarm(a), Hope: hopeWords(a)}
	b.Shown = max(b.Evidence, b.FiredEvidence)
	if a.ThresholdYears > 0 && b.Shown > 0 {
		// From a thousandth of the threshold up to it: evidence grows by factors.
		b.Share = min(max(1+math.Log10(b.Shown/a.ThresholdYears)/3, 0), 1)
	}
	since := ""
	if !a.Since.IsZero() {
		since = " since " + clock(a.Since)
	}
	switch {
	case b.State == estimate.Firing:
		b.Title = "Accuracy has drifted"
		b.Words = append(b.Words, "The alarm has been firing"+since+"."+onsetWords(a))
	case b.State == estimate.Pending:
		b.Title = "Drift suspected"
		b.Words = append(b.Words, "There has been enough evidence"+since+"; the alarm fires if it lasts."+onsetWords(a))
	case !a.Watching && a.Started.IsZero():
		b.Title = "No champion to watch"
		b.Words = append(b.Words, "The alarm starts with the first promotion.")
	case !a.Watching:
		b.Title = "Gathering the reference"
		b.Words = append(b.Words, fmt.Sprintf("%s of %s labels of this champion are in. They say how good it is when all is well; the alarm watches from then on.",
			count(a.ReferenceLabels), count(a.ReferenceNeeded)))
	default:
		b.Title = "No sign of drift"
	}
	if a.Watching {
		b.Words = append(b.Words, fmt.Sprintf("All is well while accuracy stays at %s or above. One false alarm in %s at most, on average, however often you look.",
			percent(1-a.P0), yearsWords(a.ThresholdYears)))
	}
	return b
}

func onsetWords(a metrics.AlarmStatus) string {
	if a.Onset.IsZero() {
		return ""
	}
	return " The drift seems to have begun around " + clock(a.Onset) + "."
}

// hopes are the falls below what is still fine for which the page says when
// the alarm would know.
var hopes = [...]float64{.03, .05, .10, .20}

// hopeWords says what a fall would have to be, to be seen when, at the rate at
// which labels have come so far.
func hopeWords(a metrics.AlarmStatus) string {
	begin := a.WatchingSince
	if begin.IsZero() {
		begin = a.Started
	}
	watched := a.ClosedUntil.Sub(begin)
	if !a.Watching || a.Sequence.Blocks == 0 || watched <= 0 || a.State == estimate.Firing || a.State == estimate.Pending {
		return "" // nothing known, or nothing left to hope for
	}
	perYear := float64(a.Sequence.Blocks) * float64(estimate.Year) / float64(watched)
	d := estimate.Detector{P0: a.P0, ThresholdYears: a.ThresholdYears}
	var parts []string
	for _, drop := range hopes {
		blocks := d.DetectionDelay(a.P0+drop, perYear)
		if math.IsInf(blocks, 1) {
			continue
		}
		if d := yearsWords(blocks / perYear); len(parts) == 0 || !strings.HasSuffix(parts[len(parts)-1], " "+d) {
			parts = append(parts, fmt.Sprintf("to %s within %s", percent(1-a.P0-drop), d))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "At the pace of your labels it would notice a fall " + strings.Join(parts, ", ") + "."
}

// yearsWords says a span given in years.
func yearsWords(y float64) string {
	days := y * 365.25
	switch {
	case y == 1:
		return "a year"
	case y > 1:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", y), ".0") + " years"
	case days >= 60:
		return fmt.Sprintf("%.0f months", y*12)
	case days >= 2:
		return fmt.Sprintf("%.0f days", math.Ceil(days))
	default:
		return fmt.Sprintf("%.0f h", math.Max(1, math.Ceil(days*24)))
	}
}

// sequenceWords says where the accuracy lies, for a reader who may look at any
// moment.
func sequenceWords(s metrics.Sequence) string {
	if s.Blocks == 0 {
		return "–"
	}
	return bounds(s.Lower, s.Upper)
}

// evalueWords renders evidence that grows by factors.
func evalueWords(e float64) string {
	switch {
	case math.IsNaN(e):
		return "–"
	case e > 1e6:
		return "over a million"
	case e >= 100:
		return count(int(math.Round(e)))
	case e < 0.001:
		return "under 0.001"
	}
	return fmt.Sprintf("%.3g", e)
}

// watchedSince is when the evidence begins.
func (b alarmBox) WatchedSince() time.Time {
	if b.WatchingSince.IsZero() {
		return b.Started
	}
	return b.WatchingSince
}

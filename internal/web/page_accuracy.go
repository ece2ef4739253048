package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

// chartPoints is how many windows the chart asks for.
const chartPoints = 120

type accuracyPage struct {
	layout
	Choices   []windowChoice
	Window    dg.Accuracy // the chosen one
	Headline  dg.Estimate
	Has       bool // there is a headline figure
	Plain     dg.Estimate
	HasPlain  bool
	Rows      []windowRow
	Strata    []stratumRow
	Wide      Chart
	Narrow    Chart
	Drawn     bool // the chart has a figure to show
	From, To  time.Time
	Alarm     alarmBox
	Drift     []driftRow
	Reference float64
	Fine      bool // Reference is known
}

type windowChoice struct {
	Name    string
	Current bool
}

type windowRow struct {
	dg.Accuracy
	Headline dg.Estimate
	Has      bool
	Plain    dg.Estimate
	HasPlain bool
}

type stratumRow struct {
	Stratum     dg.Stratum
	Meaning     string
	Predictions int
	Weight      float64 // share of all predictions
	Labels      int
	Correct     int
}

type alarmBox struct {
	metrics.AlarmStatus
	Title string
	Words []string
	Shown float64 // the evidence that counts, in years: at the crossing while the alarm fires
	Share float64 // Shown over the threshold, 0 to 1, on a logarithmic scale
}

type driftRow struct {
	Test  string
	Score float64
	Words string
}

var stratumMeaning = map[dg.Stratum]string{
	dg.LowConfidence: "the model was unsure; all are labelled",
	dg.Flagged:       "a user doubted it; all are labelled",
	dg.Corrected:     "a user chose another class; all are labelled",
	dg.Random:        "everything else; a few are drawn by chance",
}

func (s *server) getAccuracyPage(c *gin.Context) {
	ctx := c.Request.Context()
	snap := s.d.Accuracy.Snapshot()
	page := accuracyPage{layout: s.layout(c, "accuracy", "Accuracy"), Alarm: boxOf(snap.Alarm), Drift: driftRows(snap)}
	page.Reference, page.Fine = 1-snap.Alarm.P0, snap.Alarm.Watching
	chosen := chooseWindow(snap.Windows, c.Query("window"))
	for i, w := range snap.Windows {
		row := windowRow{Accuracy: w}
		row.Headline, row.Has = w.Estimate(headline)
		row.Plain, row.HasPlain = w.Estimate(plain)
		page.Rows = append(page.Rows, row)
		page.Choices = append(page.Choices, windowChoice{w.Window, i == chosen})
		if i == chosen {
			page.Window, page.Headline, page.Has, page.Plain, page.HasPlain = w, row.Headline, row.Has, row.Plain, row.HasPlain
			page.Strata = strataRows(w)
		}
	}
	if chosen >= 0 {
		if err := s.drawAccuracy(ctx, &page); err != nil {
			s.fail(c, err)
			return
		}
	}
	s.page(c, http.StatusOK, "accuracy", page)
}

// chooseWindow returns the index of the window asked for; otherwise the
// shortest that has a figure from 24h on, or the longest.
func chooseWindow(windows []dg.Accuracy, name string) int {
	for i, w := range windows {
		if w.Window == name {
			return i
		}
	}
	for i, w := range windows {
		if _, ok := w.Estimate(headline); ok && w.End.Sub(w.Start) >= 24*time.Hour {
			return i
		}
	}
	return len(windows) - 1
}

// drawAccuracy lays out the chart of the chosen window.
func (s *server) drawAccuracy(ctx context.Context, page *accuracyPage) error {
	window, err := metrics.ParseWindow(page.Window.Window)
	if err != nil {
		return err
	}
	end := page.Window.End
	if end.IsZero() {
		end = page.Now
	}
	iv := dg.Interval{Start: end.Add(-chartSpan(window)), End: end}
	series, err := s.d.Accuracy.Series(ctx, window, iv, chartPoints)
	if err != nil {
		return fmt.Errorf("web: chart of %s: %w", page.Window.Window, err)
	}
	series = fromFirstPrediction(series)
	if len(series) > 0 {
		iv.Start = series[0].End
	}
	if !iv.Start.Before(iv.End) {
		iv.Start = iv.End.Add(-window)
	}
	events, err := s.d.Ledger.Events(ctx, dg.Interval{Start: iv.Start, End: iv.End.Add(time.Second)})
	if err != nil {
		return err
	}
	in := chartInput{Series: series, Events: events, Reference: math.NaN(), Interval: iv}
	if page.Fine {
		in.Reference, in.Since = page.Reference, page.Alarm.Started
	}
	page.Wide, page.Narrow = drawChart(in, wideChart), drawChart(in, narrowChart)
	page.Drawn = len(page.Wide.Line)+len(page.Wide.Dots)+len(page.Wide.Labelled) > 0
	page.From, page.To = iv.Start, iv.End
	return nil
}

// chartSpan is how far back a chart of windows of that length looks.
func chartSpan(window time.Duration) time.Duration {
	return min(max(14*window, 12*time.Hour), 180*24*time.Hour)
}

// fromFirstPrediction drops the windows before there was anything to predict,
// but for one.
func fromFirstPrediction(series []dg.Accuracy) []dg.Accuracy {
	first := slices.IndexFunc(series, func(a dg.Accuracy) bool { return a.Predictions > 0 || a.Labels > 0 })
	if first < 0 {
		return series
	}
	return series[max(first-1, 0):]
}

func strataRows(a dg.Accuracy) []stratumRow {
	var rows []stratumRow
	for _, st := range a.Strata {
		r := stratumRow{st.Stratum, stratumMeaning[st.Stratum], st.Predictions, 0, st.Labels, st.Correct}
		if a.Predictions > 0 {
			r.Weight = float64(st.Predictions) / float64(a.Predictions)
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b stratumRow) int {
		return cmp.Compare(slices.Index(dg.Strata, a.Stratum), slices.Index(dg.Strata, b.Stratum))
	})
	return rows
}

// boxOf says in words what the alarm's state means and what it waits for.
func boxOf(a metrics.AlarmStatus) alarmBox {
	b := alarmBox{AlarmStatus: plainAlarm(a)}
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
	if a.Slots > 0 {
		b.Words = append(b.Words, fmt.Sprintf("%s judged, up to %s.", plural(a.Slots, "slot of time", "slots of time"), clock(a.ClosedUntil)))
	}
	return b
}

func onsetWords(a metrics.AlarmStatus) string {
	if a.Onset.IsZero() {
		return ""
	}
	return " The drift seems to have begun around " + clock(a.Onset) + "."
}

func yearsWords(y float64) string {
	switch {
	case y == 1:
		return "a year"
	case y >= 1:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", y), ".0") + " years"
	default:
		return fmt.Sprintf("%.0f days", y*365.25)
	}
}

func driftRows(snap metrics.Snapshot) []driftRow {
	var rows []driftRow
	for test, d := range snap.Drift.Tests {
		r := driftRow{Test: test, Score: d.Score}
		r.Words = fmt.Sprintf("Distance %.3f from the champion's first predictions, threshold %.3f; chance of as large a difference without drift %s.",
			d.Score, d.Threshold, pValue(d.PValue))
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b driftRow) int { return cmp.Compare(a.Test, b.Test) })
	return rows
}

// pValue renders a probability without pretending to more digits than it has.
func pValue(p float64) string {
	switch {
	case math.IsNaN(p):
		return "–"
	case p < 0.0001:
		return "under 0.0001"
	default:
		return fmt.Sprintf("%.2g", p)
	}
}

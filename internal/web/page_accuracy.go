package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
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
	Where     Plot // the headline, beside what is still fine
	Scale     []PlotTick
	Missing   int // picked and not labelled yet: the figure will be revised
	At        time.Time
	Rows      []windowRow
	Estimates []estimateRow
	Ticks     []PlotTick
	Strata    []stratumRow
	Classes   sliceTable
	Bands     sliceTable
	Orders    []orderChoice
	Wide      Chart
	Narrow    Chart
	Drawn     bool // the chart has a figure to show
	Alarm     alarmBox
	Gap       gapBox
	Drift     driftBox
	Plan      planBox
	Reference float64
	Fine      bool // Reference is known
}

type orderChoice struct {
	Name, Words string
	Current     bool
}

type windowChoice struct {
	Name    string
	Current bool
}

type windowRow struct {
	dg.Accuracy
	Headline    dg.Estimate
	Has         bool
	Plain       dg.Estimate
	HasPlain    bool
	Expected    dg.Estimate
	HasExpected bool
}

type stratumRow struct {
	Stratum     dg.Stratum
	Meaning     string
	Predictions int
	Weight      float64 // share of all predictions
	Labels      int
	Correct     int
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
	page := accuracyPage{layout: s.layout(c, "accuracy", "Accuracy"), At: snap.At, Alarm: boxOf(snap.Alarm), Drift: driftOf(snap.Drift)}
	page.Reference, page.Fine = 1-snap.Alarm.P0, snap.Alarm.Watching
	chosen := chooseWindow(snap.Windows, c.Query("window"))
	for i, w := range snap.Windows {
		page.Rows = append(page.Rows, windowRowOf(w))
		page.Choices = append(page.Choices, windowChoice{w.Window, i == chosen})
	}
	if chosen >= 0 {
		page.choose(snap.Windows[chosen], c.Query("sort"))
		page.Alarm.beside(page.Window, snap.Windows)
		if err := s.drawAccuracy(ctx, &page); err != nil {
			s.fail(c, err)
			return
		}
		window, err := windowOf(page.Window)
		if err == nil {
			page.Plan, err = s.planOf(ctx, window, page.Window.Window, c.Query("points"))
		}
		if err != nil {
			s.fail(c, err)
			return
		}
	}
	s.page(c, http.StatusOK, "accuracy", page)
}

func windowRowOf(w dg.Accuracy) windowRow {
	row := windowRow{Accuracy: w}
	row.Headline, row.Has = w.Estimate(headline)
	row.Plain, row.HasPlain = w.Estimate(plain)
	row.Expected, row.HasExpected = w.Estimate(expected)
	return row
}

// choose fills in what belongs to the chosen window.
func (p *accuracyPage) choose(w dg.Accuracy, order string) {
	p.Window = w
	p.Headline, p.Has = w.Estimate(headline)
	p.Missing = max(0, w.Selected-w.Labels)
	p.Strata = strataRows(w)
	p.Estimates, p.Ticks = estimateRows(w)
	if order != byName && order != byCount {
		order = byWorst
	}
	p.Classes, p.Bands = slicesOf(w, "class", order), slicesOf(w, "confidence", "")
	p.Orders = []orderChoice{{byWorst, "worst first", order == byWorst}, {byCount, "most first", order == byCount}, {byName, "by name", order == byName}}
	p.Gap = gapOf(w, p.Fine)
	if p.Has {
		p.Where, p.Scale = headPlot(p.Headline, p.Reference, p.Fine)
	}
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

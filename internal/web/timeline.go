package web

import (
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Timeline is which version served when: a row each, a bar a generation.
type Timeline struct {
	Width, Height, Left, Right float64
	Bottom                     float64
	Rows                       []TimelineRow
	Marks                      []Mark
	XTicks                     []Tick
	Summary                    string
}

// TimelineRow is one version.
type TimelineRow struct {
	Y       float64
	Version string
	Figure  string // production accuracy in words; empty: none
	Bars    []TimelineBar
	Now     bool // it serves
}

// TimelineBar is one generation.
type TimelineBar struct {
	X, Width float64
	Class    string
	Text     string // in the bar: its number, where there is room
	Title    string
}

const (
	timelineRow    = 34.0
	maxTimeline    = 10 // versions
	maxGenerations = 60
)

var (
	wideTimeline   = chartSize{960, 0, 118, 190, 8, 26, 110}
	narrowTimeline = chartSize{400, 0, 112, 54, 8, 26, 76}
)

// timelineOf lays out the champions so far, newest first in history, and the
// moves among the events.
func timelineOf(history []dg.Champion, moves []moveBody, figures map[dg.ModelRef]string, now time.Time, size chartSize) Timeline {
	history = history[:min(len(history), maxGenerations)]
	var rows []dg.ModelRef
	for _, c := range history {
		if !slices.Contains(rows, c.Version) && len(rows) < maxTimeline {
			rows = append(rows, c.Version)
		}
	}
	t := Timeline{Width: size.width, Left: size.left, Right: size.width - size.right, Bottom: size.top + float64(len(rows))*timelineRow}
	t.Height = t.Bottom + size.bottom
	if len(rows) == 0 {
		return t
	}
	slices.Reverse(rows) // the first champion on top
	iv := dg.Interval{Start: now, End: now}
	for _, c := range history {
		if slices.Contains(rows, c.Version) && c.PromotedAt.Before(iv.Start) {
			iv.Start = c.PromotedAt
		}
	}
	if iv.Length() <= 0 {
		iv.Start = now.Add(-time.Hour)
	}
	x := func(at time.Time) float64 {
		share := float64(at.Sub(iv.Start)) / float64(iv.Length())
		return round1(t.Left + min(max(share, 0), 1)*(t.Right-t.Left))
	}
	for i, ref := range rows {
		t.Rows = append(t.Rows, TimelineRow{Y: round1(size.top + (float64(i)+.5)*timelineRow), Version: ref.Short(), Figure: figures[ref], Now: history[0].Version == ref})
	}
	for i, c := range history {
		at := slices.Index(rows, c.Version)
		if at < 0 {
			continue
		}
		end := now
		if i > 0 {
			end = history[i-1].PromotedAt
		}
		b := TimelineBar{X: x(c.PromotedAt), Class: "served", Title: fmt.Sprintf("generation %d, %s to %s (%s): %s", c.Generation, clock(c.PromotedAt), clock(end), span(end.Sub(c.PromotedAt)), c.Reason)}
		if c.RolledBack() {
			b.Class = "served back"
		}
		if b.Width = max(round1(x(end)-b.X), 3); b.Width > 22 {
			b.Text = fmt.Sprint(c.Generation)
		}
		t.Rows[at].Bars = append(t.Rows[at].Bars, b)
	}
	t.XTicks = timeTicks(iv, x, int((t.Right-t.Left)/size.perTick))
	for _, m := range moves {
		if m.At.Before(iv.Start) || m.At.After(iv.End) || m.Kind == ledger.EventPromotion {
			continue
		}
		word := markWords[m.Kind]
		t.Marks = append(t.Marks, Mark{X: x(m.At), Kind: m.Kind, Title: word + " " + m.Version + " " + clock(m.At) + ": " + m.Why})
	}
	t.Summary = fmt.Sprintf("%s served %s since %s; now %s, generation %d", plural(len(rows), "version", "versions"), plural(len(history), "time", "times"), clock(iv.Start), history[0].Version.Short(), history[0].Generation)
	return t
}

package web

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

// defaultPoints is the precision that the label planner starts with.
const defaultPoints = "2"

// planBox is the label planner: what a wanted precision costs.
type planBox struct {
	Window  string
	Points  string // as it was typed
	Words   []string
	Problem string // what is wrong with the wish, or why nothing can be said
}

// planOf answers the planner's form.
func (s *server) planOf(ctx context.Context, window time.Duration, name, typed string) (planBox, error) {
	b := planBox{Window: name, Points: strings.TrimSpace(typed)}
	if b.Points == "" {
		b.Points = defaultPoints
	}
	wish, ok := pointsOf(b.Points)
	if !ok {
		b.Points, b.Problem = clip(b.Points, 20), "Want points between 0.1 and 50, such as 2."
		return b, nil
	}
	p, err := s.d.Accuracy.Plan(ctx, window, wish/100)
	switch {
	case errors.Is(err, dg.ErrTooFewSamples):
		b.Problem = "There are no predictions in this window to plan with."
	case errors.Is(err, dg.ErrInvalid) && p.HalfWidth > 0:
		b.Problem = fmt.Sprintf("±%g points can't be had over %s: a label for all of its %s gives ±%s.", wish, name, plural(p.RandomLabels, "random image", "random images"), onePoint(p.HalfWidth))
	case errors.Is(err, dg.ErrInvalid):
		b.Problem = sentence(err, dg.ErrInvalid)
	case err != nil:
		return b, fmt.Errorf("web: plan labels: %w", err)
	default:
		b.Words = planWords(p, name)
	}
	return b, nil
}

// pointsOf reads a wanted precision in percentage points, as people write it.
func pointsOf(text string) (v float64, ok bool) {
	v, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64)
	return v, err == nil && v >= 0.1 && v <= 50
}

// planWords says a plan in sentences that also read well aloud.
func planWords(p estimate.Plan, window string) []string {
	now := fmt.Sprintf("Today %s of them are labelled a day, which gives ±%s points.", perDay(p.NowPerDay), onePoint(p.NowHalfWidth))
	if p.NowLabels == 0 {
		now = "Today none of them is labelled."
	}
	answer := fmt.Sprintf("Label %s random images a day, and the accuracy of %s is known to ±%s points.", perDay(p.PerDay), window, onePoint(p.HalfWidth))
	if p.RandomLabels == 0 {
		answer = fmt.Sprintf("No random label is needed: the others alone give ±%s points for %s.", onePoint(p.HalfWidth), window)
	}
	out := []string{answer, now}
	if p.OtherLabels > 0 {
		out = append(out, fmt.Sprintf("Counted in: %s of the other strata, which come anyway.", plural(p.OtherLabels, "label", "labels")))
	}
	return out
}

// perDay renders a rate: whole labels, or what it takes to see that there is
// one at all.
func perDay(v float64) string {
	if v > 0 && v < 10 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	return count(int(math.Ceil(v - 1e-9)))
}

// onePoint renders half a width in percentage points.
func onePoint(ratio float64) string { return strconv.FormatFloat(ratio*100, 'f', 1, 64) }

// sentence is what an error says to a person: without the packages that it
// came through and without its kind.
func sentence(err, kind error) string {
	text := strings.TrimSuffix(err.Error(), ": "+kind.Error())
	for {
		head, rest, ok := strings.Cut(text, ": ")
		if !ok || strings.ContainsAny(head, "0123456789") || len(strings.Fields(head)) > 2 {
			break
		}
		text = rest
	}
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// windowOf reads the span of a shown window.
func windowOf(a dg.Accuracy) (time.Duration, error) { return metrics.ParseWindow(a.Window) }

package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

// addAccuracyAPI registers what the labels say: figures, what better ones
// would cost, and whether old ones can be had again.
func (s *server) addAccuracyAPI(api huma.API) {
	register(s, api, op("accuracy", "GET", "/accuracy", "Accuracy", "Production accuracy of one window by every estimator, with bounds, counts and slices"), s.getAccuracy)
	register(s, api, op("plan", "GET", "/plan", "Accuracy", "How many random labels a day a wanted precision takes"), s.getPlan)
	replay := op("replay", "GET", "/accuracy/replay", "Accuracy", "Recompute published windows and decided slots from their stored inputs")
	replay.Description = "Answers 200 when every figure and every decision comes out the same to the last digit, 409 naming the first that doesn't."
	replay.Errors = append(replay.Errors, http.StatusConflict)
	register(s, api, replay, s.getReplay)
}

type accuracyInput struct {
	Window string `query:"window" default:"24h" maxLength:"20" doc:"span of predictions, as 30m, 24h, 7d"`
	At     string `query:"at" maxLength:"40" doc:"end of the window, RFC 3339; default now"`
	// The old systems' objects have no version: all counts them too.
	Version string `query:"version" maxLength:"71" doc:"of the model: champion (the default), all, or a version as in its tags"`
	By      string `query:"by" default:"all" enum:"all,class,confidence,none" doc:"which slices of the window to add"`
}

func (s *server) getAccuracy(ctx context.Context, in *accuracyInput) (*out[dg.Accuracy], error) {
	window, err := metrics.ParseWindow(in.Window)
	if err != nil {
		return nil, err
	}
	at := s.o.Now()
	if in.At != "" {
		if at, err = timeOf("at", in.At); err != nil {
			return nil, err
		}
	}
	var a dg.Accuracy
	switch in.Version {
	case "", "champion":
		a, err = s.d.Accuracy.Accuracy(ctx, window, at.UTC())
	case "all":
		a, err = s.d.Accuracy.AccuracyOf(ctx, "", window, at.UTC())
	default:
		a, err = s.d.Accuracy.AccuracyOf(ctx, dg.ModelRef(in.Version).Short(), window, at.UTC())
	}
	a.Estimates, a.Strata = orEmpty(a.Estimates), orEmpty(a.Strata)
	a.Slices = slicesBy(a.Slices, in.By)
	return answer(a), err
}

// slicesBy keeps the slices of one kind; the given list belongs to a snapshot
// and stays as it is.
func slicesBy(all []dg.Slice, by string) []dg.Slice {
	if by == "" || by == "all" {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(s dg.Slice) bool { return s.By != by })
}

func timeOf(name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%s %q: want a time in RFC 3339, as 2026-01-02T15:04:05Z: %w", name, text, dg.ErrInvalid)
	}
	return t.UTC(), nil
}

type planInput struct {
	Window    string  `query:"window" default:"24h" maxLength:"20" doc:"span of predictions whose accuracy is wanted, as 30m, 24h, 7d"`
	HalfWidth float64 `query:"half_width" default:"0.02" doc:"wanted distance of the 95% bounds from the figure, as a ratio: 0.02 is ±2 points"`
}

func (s *server) getPlan(ctx context.Context, in *planInput) (*out[estimate.Plan], error) {
	window, err := metrics.ParseWindow(in.Window)
	if err != nil {
		return nil, err
	}
	if !(in.HalfWidth > 0 && in.HalfWidth < 1) {
		return nil, fmt.Errorf("half_width %g: want a ratio between 0 and 1, as 0.02 for ±2 points: %w", in.HalfWidth, dg.ErrInvalid)
	}
	p, err := s.d.Accuracy.Plan(ctx, window, in.HalfWidth)
	return answer(p), err
}

type replayInput struct {
	Start string `query:"start" maxLength:"40" doc:"RFC 3339; default the first that is kept"`
	End   string `query:"end" maxLength:"40" doc:"RFC 3339; default now"`
}

func (s *server) getReplay(ctx context.Context, in *replayInput) (*out[metrics.ReplayReport], error) {
	iv, err := s.replayInterval(in)
	if err != nil {
		return nil, err
	}
	r, err := s.d.Accuracy.Replay(ctx, iv)
	if errors.Is(err, dg.ErrConflict) {
		s.log.ErrorContext(ctx, "a figure or a decision does not come out of its stored inputs", "error", err)
	}
	return answer(r), err
}

// replayInterval is zero, which means everything, when neither end is given.
func (s *server) replayInterval(in *replayInput) (iv dg.Interval, err error) {
	if in.Start == "" && in.End == "" {
		return iv, nil
	}
	iv.End = s.o.Now().UTC()
	if in.Start != "" {
		if iv.Start, err = timeOf("start", in.Start); err != nil {
			return iv, err
		}
	}
	if in.End != "" {
		if iv.End, err = timeOf("end", in.End); err != nil {
			return iv, err
		}
	}
	if !iv.Start.Before(iv.End) {
		return iv, fmt.Errorf("start %s: want it before end %s: %w", stamp(iv.Start), stamp(iv.End), dg.ErrInvalid)
	}
	return iv, nil
}

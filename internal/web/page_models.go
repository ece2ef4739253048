package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/registry"
	"driftgate/internal/rollout"
)

type modelsPage struct {
	layout
	Champion    dg.Champion
	HasChampion bool
	Rows        []modelRow
	Rest        int // older versions, not shown
	Rollout     *rolloutBox
	Wide        Timeline
	Narrow      Timeline
	Moves       []moveBody
}

// modelRow is one version in the table.
type modelRow struct {
	modelBody
	Test       float64
	HasTest    bool
	Production dg.Estimate // on what it served
	HasServed  bool        // ... and Production is known
	Plot       Plot        // of Production
	Ago        string
	From       string // what it learned from, in words
}

const (
	shownModels = 40 // rows of the table
	shownMoves  = 30
	servedSpan  = 30 * 24 * time.Hour // what a version's production accuracy looks back on
)

func (s *server) getModels(c *gin.Context) {
	ctx := c.Request.Context()
	entries, history, err := s.modelsAndHistory(ctx)
	if err != nil {
		s.fail(c, err)
		return
	}
	page := modelsPage{layout: s.layout(c, "models", "Models")}
	if page.Champion, page.HasChampion, err = s.champion(ctx); err != nil {
		s.fail(c, err)
		return
	}
	if page.Rollout, err = s.rolloutBox(ctx, page.Now); err != nil {
		s.fail(c, err)
		return
	}
	if page.Moves, err = s.moves(ctx, shownMoves); err != nil {
		s.fail(c, err)
		return
	}
	served, err := s.servedFigures(ctx, history, page.Rollout, page.Now)
	if err != nil {
		s.fail(c, err)
		return
	}
	page.fill(entries, served)
	long, short := map[dg.ModelRef]string{}, map[dg.ModelRef]string{}
	for ref, e := range served {
		short[ref] = percent(e.Accuracy)
		long[ref] = fmt.Sprintf("%s (%s)", short[ref], bounds(e.Lower, e.Upper))
	}
	page.Wide, page.Narrow = timelineOf(history, page.Moves, long, page.Now, wideTimeline), timelineOf(history, page.Moves, short, page.Now, narrowTimeline)
	if page.HasChampion {
		page.About = fmt.Sprintf("%s serves, generation %d since %s. %s.", page.Champion.Version.Short(), page.Champion.Generation, clock(page.Champion.PromotedAt), plural(len(entries), "version", "versions"))
	}
	s.page(c, http.StatusOK, "models", page)
}

// fill makes the rows of the table, newest first, those that serve or are tried
// always among them.
func (p *modelsPage) fill(entries []registry.Entry, served map[dg.ModelRef]dg.Estimate) {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b registry.Entry) int { return b.SavedAt.Compare(a.SavedAt) })
	for i, e := range entries {
		if i >= shownModels && e.Role == registry.RoleCandidate {
			p.Rest++
			continue
		}
		row := modelRow{modelBody: modelOf(e), Ago: age(p.Now, e.SavedAt), From: learnedFrom(e)}
		row.Test, row.HasTest = row.Manifest.Metrics["test_accuracy"]
		row.Production, row.HasServed = served[e.Ref]
		p.Rows = append(p.Rows, row)
	}
	var values []float64
	for _, r := range p.Rows {
		if r.HasServed {
			values = append(values, r.Production.Lower, r.Production.Upper)
		}
	}
	scale := scaleOf(4, values...)
	for i := range p.Rows {
		if p.Rows[i].HasServed {
			p.Rows[i].Plot = scale.row(p.Rows[i].Production)
		}
	}
}

// learnedFrom says in words what a version was made from.
func learnedFrom(e registry.Entry) string {
	var parts []string
	for _, source := range []string{"base", "human", "proxy"} {
		if n := e.Manifest.Counts[source]; n > 0 {
			parts = append(parts, count(n)+" "+source)
		}
	}
	if len(parts) == 0 && len(e.Manifest.TrainedOn) > 0 {
		return count(len(e.Manifest.TrainedOn)) + " images"
	}
	return strings.Join(parts, ", ")
}

// servedFigures are the production accuracies of the versions that have served
// or are tried, each on what it answered in the month before it last stopped.
func (s *server) servedFigures(ctx context.Context, history []dg.Champion, box *rolloutBox, now time.Time) (map[dg.ModelRef]dg.Estimate, error) {
	until := map[dg.ModelRef]time.Time{}
	for i, c := range history[:min(len(history), maxGenerations)] {
		end := now
		if i > 0 {
			end = history[i-1].PromotedAt
		}
		if _, ok := until[c.Version]; !ok && len(until) < maxTimeline {
			until[c.Version] = end
		}
	}
	if box != nil && box.Exposed {
		until[box.Exposure.Challenger] = now
	}
	out := map[dg.ModelRef]dg.Estimate{}
	for ref, end := range until {
		a, err := s.d.Accuracy.AccuracyOf(ctx, ref.Short(), servedSpan, end)
		if err != nil {
			return nil, err
		}
		if e, ok := a.Estimate(headline); ok {
			out[ref] = e
		}
	}
	return out, nil
}

// rolloutBox is what is tried on production or watched, laid out.
type rolloutBox struct {
	rollout.Status
	Exposed  bool // a challenger is tried
	Watched  bool // there is a subject, with or without evidence
	Share    string
	Lasts    string // since when, in words
	Delta    Delta  // accuracy of the subject less the other's
	Ticks    []PlotTick
	Evidence rollout.Evidence
	Meter    float64 // evidence of harm on a logarithmic scale, 0 to 1 at the threshold
	Own      dg.Estimate
	HasOwn   bool
}

func (s *server) rolloutBox(ctx context.Context, now time.Time) (*rolloutBox, error) {
	if s.d.Rollout == nil {
		return nil, nil
	}
	st, err := s.d.Rollout(ctx)
	if err != nil {
		return nil, err
	}
	b := &rolloutBox{Status: st, Exposed: st.Exposure.Challenger != "", Watched: st.Subject != "", Evidence: st.Evidence}
	if b.Exposed {
		b.Share = strconv.FormatFloat(100*st.Exposure.Share, 'g', 3, 64) + "%"
		if !st.Exposure.Since.IsZero() {
			b.Lasts = "since " + clock(st.Exposure.Since) + " (" + age(now, st.Exposure.Since) + ")"
		}
	}
	if ev := st.Evidence; ev.Slots > 0 {
		lower, upper := -ev.Upper, -ev.Lower // of error, turned into accuracy
		scale := deltaScaleOf(max(math.Abs(lower), math.Abs(upper), .02))
		b.Delta, b.Ticks = scale.row(-ev.Difference, lower, upper), scale.ticks()
		if ev.Threshold > 1 && ev.Worse > 0 {
			b.Meter = min(max(math.Log(ev.Worse)/math.Log(ev.Threshold), 0), 1)
		}
	}
	for _, e := range st.Accuracy {
		if e.Estimator == headline {
			b.Own, b.HasOwn = e, true
		}
	}
	return b, nil
}

// Better is the difference as accuracy: above 0 the subject is better.
func (b *rolloutBox) Better() string { return points(-b.Evidence.Difference) }

// BetterBounds are those of Better.
func (b *rolloutBox) BetterBounds() string {
	return points(-b.Evidence.Upper) + " to " + points(-b.Evidence.Lower)
}

func (s *server) postPromote(c *gin.Context) {
	s.move(c, "promoted", func(ctx context.Context) error {
		_, err := s.promote(ctx, c.PostForm("ref"), c.PostForm("reason"))
		return err
	})
}

func (s *server) postRollback(c *gin.Context) {
	s.move(c, "rollback", func(ctx context.Context) error {
		_, err := s.rollback(ctx, c.PostForm("from"), c.PostForm("reason"))
		return err
	})
}

func (s *server) postExpose(c *gin.Context) {
	s.move(c, "exposed", func(ctx context.Context) error {
		stage, share := dg.Stage(c.PostForm("stage")), 0.0
		if stage != dg.Shadow && stage != dg.Canary {
			return fmt.Errorf("stage %.50q: want shadow or canary: %w", stage, dg.ErrInvalid)
		}
		if stage == dg.Canary {
			p, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(c.PostForm("percent")), "%"), 64)
			if err != nil || !(p > 0 && p <= 100) {
				return fmt.Errorf("share of the traffic %.50q: want over 0, at most 100 percent: %w", c.PostForm("percent"), dg.ErrInvalid)
			}
			share = p / 100
		}
		_, err := s.try(ctx, c.PostForm("ref"), stage, share, c.PostForm("reason"))
		return err
	})
}

func (s *server) postEndExposure(c *gin.Context) {
	s.move(c, "ended", func(ctx context.Context) error {
		reason, err := reasonOf(c.PostForm("reason"), "by a person")
		if err != nil {
			return err
		}
		_, err = s.d.Models.EndTrial(ctx, "person: "+reason)
		return err
	})
}

func (s *server) postReject(c *gin.Context) {
	s.move(c, "rejected", func(ctx context.Context) error { return s.leave(ctx, c.PostForm("ref"), c.PostForm("reason")) })
}

// move does what a form asks for and shows the models.
func (s *server) move(c *gin.Context, done string, act func(ctx context.Context) error) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	if err := act(c.Request.Context()); err != nil {
		s.fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/models?done="+url.QueryEscape(done))
}

// choices are versions to choose from, newest first.
func choices(entries []registry.Entry) []modelBody {
	var out []modelBody
	for _, e := range entries {
		out = append(out, modelOf(e))
	}
	slices.SortStableFunc(out, func(a, b modelBody) int {
		return cmp.Or(b.SavedAt.Compare(a.SavedAt), cmp.Compare(a.Ref, b.Ref))
	})
	return out[:min(len(out), 200)]
}

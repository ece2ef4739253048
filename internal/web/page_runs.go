package web

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/ledger"
)

type runsPage struct {
	layout
	Rows     []runRow
	Pipeline string
	Busy     bool // a retraining is under way
	CanStart bool
}

type runRow struct {
	ledger.Run
	Took     string
	Progress runProgress
	Share    float64 // done, 0 to 100
	Detail   string  // input and result, for who wants to see them
}

// Names are the pipelines to choose from.
func (runsPage) Names() []string {
	return []string{"retrain", "train", "curate", "collect", "reconcile"}
}

// runProgress reads what the trainer reports; other pipelines may say less.
type runProgress struct {
	Phase            string  `json:"phase"`
	Epoch            int     `json:"epoch"`
	Epochs           int     `json:"epochs"`
	Step             int     `json:"step"`
	Steps            int     `json:"steps"`
	Loss             float64 `json:"loss"`
	Accuracy         float64 `json:"accuracy"`
	SamplesPerSecond float64 `json:"samples_per_second"`
	SecondsLeft      float64 `json:"seconds_left"`

	// Of a search for settings.
	Trial        int     `json:"trial"`
	Trials       int     `json:"trials"`
	Of           float64 `json:"share"` // of all its epochs, 0 to 1
	BestTrial    int     `json:"best_trial"`
	BestAccuracy float64 `json:"best_accuracy"`
}

// share is how far the run is, 0 to 100.
func (p runProgress) share() float64 {
	if p.Epochs <= 0 {
		return 0
	}
	if p.Trials > 0 {
		return math.Round(1000*min(max(p.Of, 0), 1)) / 10
	}
	within := 0.0
	if p.Steps > 0 {
		within = float64(p.Step) / float64(p.Steps)
	}
	done := (float64(max(p.Epoch-1, 0)) + within) / float64(p.Epochs)
	return math.Round(1000*min(max(done, 0), 1)) / 10
}

func (s *server) getRuns(c *gin.Context) {
	pipeline := clip(c.Query("pipeline"), 64)
	runs, err := s.d.Ledger.Runs(c.Request.Context(), pipeline, 100)
	if err != nil {
		s.fail(c, err)
		return
	}
	page := runsPage{layout: s.layout(c, "runs", "Runs"), Pipeline: pipeline, CanStart: s.d.Pipelines != nil}
	for _, r := range runs {
		page.Rows = append(page.Rows, rowOf(r, page.Now))
		page.Busy = page.Busy || (!r.Finished() && r.Pipeline == "retrain")
	}
	s.page(c, http.StatusOK, "runs", page)
}

func rowOf(r ledger.Run, now time.Time) runRow {
	row := runRow{Run: r}
	if len(r.Progress) > 0 {
		_ = json.Unmarshal(r.Progress, &row.Progress) // another pipeline's progress has other fields
		row.Share = row.Progress.share()
	}
	switch {
	case r.StartedAt.IsZero():
	case r.FinishedAt.IsZero():
		row.Took = span(now.Sub(r.StartedAt))
	default:
		row.Took = span(r.FinishedAt.Sub(r.StartedAt))
	}
	row.Detail = detailOf(r)
	return row
}

// maxDetail bounds what a row shows of a run's input and result.
const maxDetail = 8 << 10

func detailOf(r ledger.Run) string {
	var b strings.Builder
	for _, part := range []struct {
		name string
		body json.RawMessage
	}{{"input", r.Input}, {"result", r.Result}} {
		var pretty bytes.Buffer
		if len(part.body) > 0 && json.Indent(&pretty, part.body, "", "  ") == nil {
			b.WriteString(part.name + ": " + clip(pretty.String(), maxDetail) + "\n")
		}
	}
	return b.String()
}

func (s *server) postRuns(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	if _, err := s.retrain(c.Request.Context(), c.PostForm("reason")); err != nil {
		s.fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/runs?done=started")
}

func (s *server) postCancel(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	if s.d.Pipelines == nil {
		s.missing("cancelling runs")(c)
		return
	}
	if err := s.d.Pipelines.Cancel(c.Request.Context(), c.PostForm("id")); err != nil {
		s.fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/runs?done=cancel")
}

type decisionsPage struct {
	layout
	Triggers []ledger.TriggerRecord
	Events   []ledger.Event // newest first
	Alarm    alarmBox
}

// eventsBack is how far back /decisions lists events.
const eventsBack = 90 * 24 * time.Hour

func (s *server) getDecisions(c *gin.Context) {
	ctx := c.Request.Context()
	page := decisionsPage{layout: s.layout(c, "decisions", "Decisions"), Alarm: boxOf(s.d.Accuracy.Snapshot().Alarm)}
	var err error
	if page.Triggers, err = s.d.Ledger.Triggers(ctx, 100); err != nil {
		s.fail(c, err)
		return
	}
	events, err := s.d.Ledger.Events(ctx, dg.Interval{Start: page.Now.Add(-eventsBack), End: page.Now.Add(time.Hour)})
	if err != nil {
		s.fail(c, err)
		return
	}
	for i := len(events) - 1; i >= 0 && len(page.Events) < 200; i-- {
		page.Events = append(page.Events, events[i])
	}
	s.page(c, http.StatusOK, "decisions", page)
}

// Words says what a decision means.
func (decisionsPage) Words(d dg.TriggerDecision) string { return decisionWords[d] }

var decisionWords = map[dg.TriggerDecision]string{
	dg.Accepted:  "a retraining was started",
	dg.Duplicate: "delivered before",
	dg.Joined:    "its incident has its retraining already",
	dg.Busy:      "another run is under way",
	dg.CoolDown:  "too soon after the last run",
	dg.Budget:    "the day's runs are used up",
	dg.Closed:    "the cause is over",
	dg.Ignored:   "not for this model",
}

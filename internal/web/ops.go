package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// healthy says that the process answers; it asks nothing of anybody else.
func (s *server) healthy(c *gin.Context) { c.String(http.StatusOK, "healthy\n") }

// ready says whether predictions can be served: a verified model is loaded.
func (s *server) ready(c *gin.Context) {
	if s.d.Serving.Version() == "" {
		s.fail(c, newProblem(http.StatusServiceUnavailable, "no model is loaded yet: train one, or promote one"))
		return
	}
	if s.d.Ready != nil {
		if err := s.d.Ready(c.Request.Context()); err != nil {
			s.log.WarnContext(c.Request.Context(), "not ready", "error", err)
			s.fail(c, newProblem(http.StatusServiceUnavailable, "not ready; the log of the gateway says why"))
			return
		}
	}
	c.String(http.StatusOK, "ready\n")
}

// reload answers with what changed and what needs a restart.
func (s *server) reload(c *gin.Context) {
	if s.d.Reload == nil {
		s.missing("reloading")(c)
		return
	}
	report, err := s.d.Reload(c.Request.Context())
	if err != nil {
		s.fail(c, fmt.Errorf("the configuration stays as it was: %w", err))
		return
	}
	c.JSON(http.StatusOK, report)
}

// profile shows what the runtime knows of itself (net/http/pprof). The command
// line stays out: it may hold secrets.
func profile(c *gin.Context) {
	show := pprof.Index
	switch strings.TrimPrefix(c.Param("profile"), "/") {
	case "profile":
		show = pprof.Profile
	case "symbol":
		show = pprof.Symbol
	case "trace":
		show = pprof.Trace
	case "cmdline":
		show = http.NotFound
	}
	show(c.Writer, c.Request)
}

// retrainAnswer is what a person hears who asks for a retraining.
type retrainAnswer struct {
	Run      string             `json:"run" doc:"id of the run that was started"`
	Decision dg.TriggerDecision `json:"decision"`
	Note     string             `json:"note,omitempty"`
	Trigger  string             `json:"trigger" doc:"id of the recorded request"`
}

// maxReasonRunes bounds a person's reason.
const maxReasonRunes = 500

// retrain records a person's wish to retrain and says what came of it. A
// decision other than accepted is an error here: the person asked for a run.
func (s *server) retrain(ctx context.Context, reason string) (retrainAnswer, error) {
	reason, err := reasonOf(reason, "asked for by a person")
	if err != nil {
		return retrainAnswer{}, err
	}
	rec, err := s.d.Inbox.Submit(ctx, dg.Trigger{Source: dg.FromPerson, Model: s.o.Model, Reason: reason, At: s.o.Now()})
	if err != nil {
		return retrainAnswer{}, err
	}
	if rec.Decision == dg.Accepted {
		return retrainAnswer{rec.RunID, rec.Decision, rec.Note, rec.ID}, nil
	}
	p := newProblem(http.StatusConflict, fmt.Sprintf("no retraining was started (%s): %s", rec.Decision, rec.Note))
	if rec.Decision == dg.Busy {
		p.Status, p.Title, p.RunID = http.StatusLocked, http.StatusText(http.StatusLocked), s.runUnderWay(ctx, rec)
	}
	return retrainAnswer{}, p
}

// runUnderWay names the unfinished retrain that made the inbox say busy.
func (s *server) runUnderWay(ctx context.Context, rec ledger.TriggerRecord) string {
	if rec.RunID != "" {
		return rec.RunID
	}
	runs, err := s.d.Ledger.Runs(ctx, "", 20)
	if err != nil {
		return "" // the answer is right without it
	}
	for _, r := range runs {
		if r.Model == rec.Model && !r.Finished() {
			return r.ID
		}
	}
	return ""
}

// startRetrain answers the old trigger routes: 202 with the run, 423 while one
// is under way, and an honest error else.
func (s *server) startRetrain(c *gin.Context) {
	answer, err := s.retrain(c.Request.Context(), "asked for at "+c.FullPath())
	if err != nil {
		s.fail(c, err)
		return
	}
	c.JSON(http.StatusAccepted, answer)
}

// reasonOf checks a person's words for a decision.
func reasonOf(text, otherwise string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return otherwise, nil
	}
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > maxReasonRunes {
		return "", fmt.Errorf("reason: want at most %d characters of UTF-8: %w", maxReasonRunes, dg.ErrInvalid)
	}
	return text, nil
}

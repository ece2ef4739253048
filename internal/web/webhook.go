package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/alerts"
)

// maxTriggers is how many firing and how many resolved alerts of one delivery
// are recorded. All of them are causes of one incident and one run answers
// them; more would only make every later decision slower.
const maxTriggers = 100

// shownIgnored is how many reasons for ignoring alerts an answer tells.
const shownIgnored = 20

type webhookAnswer struct {
	Triggers []webhookTrigger `json:"triggers"`
	Ignored  []string         `json:"ignored,omitempty"` // the first reasons
	Others   int              `json:"others,omitempty"`  // alerts ignored or left out beside those
}

type webhookTrigger struct {
	ID       string             `json:"id"`
	Decision dg.TriggerDecision `json:"decision"`
	RunID    string             `json:"run_id,omitempty"`
	Note     string             `json:"note,omitempty"`
}

// webhook answers POST /api/v1/alerts: every alert that asks for a retraining
// is recorded before the 202. Alertmanager repeats what gets a 5xx or no
// answer, so 5xx is for a trigger that could not be recorded, and for nothing
// else; what was recorded before the failure is a duplicate the next time.
func (s *server) webhook(c *gin.Context) {
	d, err := s.delivery(c)
	if errors.Is(err, dg.ErrInvalid) {
		s.log.WarnContext(c.Request.Context(), "webhook refused", "error", err)
		s.fail(c, newProblem(http.StatusBadRequest, err.Error()))
		return
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	if d.Truncated > 0 {
		s.metrics.truncated.Add(float64(d.Truncated))
		s.log.WarnContext(c.Request.Context(), "Alertmanager left alerts out: raise max_alerts", "truncated", d.Truncated)
	}
	taken := bounded(d.Triggers)
	left := len(d.Triggers) - len(taken)
	if left > 0 {
		s.log.WarnContext(c.Request.Context(), "a delivery asks for one retraining too often: group its alerts", "alerts", len(d.Triggers), "recorded", len(taken))
	}
	s.metrics.alerts.WithLabelValues("ignored").Add(float64(len(d.Ignored) + left))
	answer := webhookAnswer{Triggers: []webhookTrigger{}, Ignored: d.Ignored[:min(len(d.Ignored), shownIgnored)]}
	answer.Others = len(d.Ignored) - len(answer.Ignored) + left
	for _, why := range answer.Ignored {
		s.log.DebugContext(c.Request.Context(), "alert ignored", "reason", why)
	}
	if answer.Triggers, err = s.record(c.Request.Context(), taken); err != nil {
		s.fail(c, err)
		return
	}
	status := http.StatusAccepted
	if len(answer.Triggers) == 0 {
		status = http.StatusOK
	}
	c.JSON(status, answer)
}

// delivery reads the body. Few are read at once, for each may be large and
// becomes larger when it is taken apart; but the first bytes, which are all of
// most deliveries, are waited for outside, so that a client that is slow with
// them keeps nobody out.
func (s *server) delivery(c *gin.Context) (alerts.Delivery, error) {
	body := http.MaxBytesReader(c.Writer, c.Request.Body, maxAlertBytes)
	first, err := io.ReadAll(io.LimitReader(body, firstAlertBytes))
	if err != nil {
		return alerts.Delivery{}, deliveryError(err)
	}
	wait := time.NewTimer(waitForRoom)
	defer wait.Stop()
	select {
	case s.deliveries <- struct{}{}:
		defer func() { <-s.deliveries }()
	case <-wait.C:
		return alerts.Delivery{}, fmt.Errorf("%d deliveries are being read, send it again: %w", maxDeliveries, dg.ErrFull)
	case <-c.Request.Context().Done():
		return alerts.Delivery{}, c.Request.Context().Err()
	}
	d, err := alerts.Parse(io.MultiReader(bytes.NewReader(first), body), s.alerts)
	return d, deliveryError(err)
}

// deliveryError tells a client that was too slow from a gateway that failed.
func deliveryError(err error) error {
	if late := lateBody(err); late != nil {
		return late
	}
	return err
}

// record enters triggers one by one, each in a transaction of its own.
func (s *server) record(ctx context.Context, triggers []dg.Trigger) ([]webhookTrigger, error) {
	out := []webhookTrigger{}
	for _, t := range triggers {
		t.At = s.o.Now()
		rec, err := s.d.Inbox.Submit(ctx, t)
		if err != nil && errors.Is(err, dg.ErrInvalid) {
			s.log.WarnContext(ctx, "alert refused", "error", err)
			return nil, newProblem(http.StatusBadRequest, err.Error())
		}
		if err != nil {
			s.log.ErrorContext(ctx, "record alert", "error", err)
			return nil, newProblem(http.StatusServiceUnavailable, "not every alert could be recorded: send them again")
		}
		s.metrics.alerts.WithLabelValues("recorded").Inc()
		out = append(out, webhookTrigger{rec.ID, rec.Decision, rec.RunID, rec.Note})
	}
	return out, nil
}

// bounded keeps the first maxTriggers firing and as many resolved ones, by
// dedupe key, so that a repetition and the resolution pick the same alerts. Up
// to that number the order stays as it came.
func bounded(all []dg.Trigger) []dg.Trigger {
	if len(all) <= maxTriggers {
		return all
	}
	sorted := slices.SortedFunc(slices.Values(all), func(a, b dg.Trigger) int { return cmp.Compare(a.DedupeKey, b.DedupeKey) })
	var out []dg.Trigger
	n := map[bool]int{}
	for _, t := range sorted {
		if n[t.Resolved]++; n[t.Resolved] <= maxTriggers {
			out = append(out, t)
		}
	}
	return out
}

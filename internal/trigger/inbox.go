package trigger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/telemetry"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Limits of what a trigger may carry.
const (
	maxKey    = 512  // bytes of a dedupe key
	maxReason = 1000 // characters of a reason; the rest is cut off
)

// Options are the rules' figures. The zero value of each means its default.
type Options struct {
	CoolDown     time.Duration   // after an incident's last cause is over, after a run for schedules and retries; default 0
	BudgetPerDay int             // most runs of a model in any 24 hours; default 4
	Forget       time.Duration   // a cause not heard of for so long is over; default 7 days
	Models       map[string]bool // models that may be retrained; empty accepts every name
	Now          func() time.Time
	Logger       *slog.Logger
	Registerer   prometheus.Registerer // nil: no metrics
}

func (o Options) withDefaults() Options {
	if o.BudgetPerDay <= 0 {
		o.BudgetPerDay = 4
	}
	if o.Forget <= 0 {
		o.Forget = 7 * day
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) knows(model string) bool { return len(o.Models) == 0 || o.Models[model] }

// Inbox records triggers and answers them.
type Inbox struct {
	ledger  *ledger.Ledger
	o       Options // but for what SetLimits changes: see options
	limits  atomic.Pointer[limits]
	log     *slog.Logger
	answers *prometheus.CounterVec
}

// New returns the inbox of ledger l.
func New(l *ledger.Ledger, o Options) *Inbox {
	o = o.withDefaults()
	i := &Inbox{ledger: l, o: o, log: o.Logger.With("component", "trigger")}
	i.answers = promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "driftgate_triggers_total",
		Help: "Triggers answered, by who asked and what was decided.",
	}, []string{"source", "decision"})
	for _, s := range dg.TriggerSources {
		for _, d := range dg.TriggerDecisions {
			i.answers.WithLabelValues(string(s), string(d))
		}
	}
	return i
}

type limits struct {
	coolDown time.Duration
	budget   int
}

// SetLimits changes CoolDown and BudgetPerDay for every decision from now on.
func (i *Inbox) SetLimits(coolDown time.Duration, budgetPerDay int) {
	i.limits.Store(&limits{coolDown, budgetPerDay})
}

// options are those that hold now.
func (i *Inbox) options() Options {
	o := i.o
	if l := i.limits.Load(); l != nil {
		o.CoolDown, o.BudgetPerDay = l.coolDown, l.budget
	}
	return o.withDefaults()
}

// Submit records t and its answer in one transaction; when the answer is
// [dg.Accepted], a run in state "requested" is part of it. No decision is an
// error. A trigger without source, model or (unless a person asks) dedupe key is
// refused with [dg.ErrInvalid]; any other error means that nothing was recorded
// and the sender should try again.
func (i *Inbox) Submit(ctx context.Context, t dg.Trigger) (ledger.TriggerRecord, error) {
	rec, err := i.submit(ctx, t)
	if err != nil {
		return rec, fmt.Errorf("trigger: submit %s %q for %s: %w", t.Source, t.DedupeKey, t.Model, err)
	}
	i.answers.WithLabelValues(string(rec.Source), string(rec.Decision)).Inc()
	level := slog.LevelInfo
	if rec.Decision == dg.Duplicate {
		level = slog.LevelDebug
	}
	i.log.Log(ctx, level, "trigger answered", "source", rec.Source, "model", rec.Model, "decision", rec.Decision,
		"note", rec.Note, "run", rec.RunID, "incident", rec.IncidentID, "reason", rec.Reason)
	return rec, nil
}

func (i *Inbox) submit(ctx context.Context, t dg.Trigger) (ledger.TriggerRecord, error) {
	now := i.o.Now().UTC()
	t, err := normal(t, now)
	if err != nil {
		return ledger.TriggerRecord{Trigger: t}, err
	}
	return i.ledger.SubmitTrigger(ctx, t, now, func(s ledger.TriggerState) (ledger.TriggerPlan, error) {
		return plan(s, t, now, i.options(), telemetry.Traceparent(ctx))
	})
}

// plan turns the decision into what the ledger has to write; trace names who
// asks, for the trace of the run.
func plan(s ledger.TriggerState, t dg.Trigger, now time.Time, o Options, trace string) (ledger.TriggerPlan, error) {
	var p ledger.TriggerPlan
	p.Decision, p.Note = Decide(s, t, now, o)
	if p.Decision == dg.Accepted {
		input, err := json.Marshal(struct {
			Trigger dg.Trigger `json:"trigger"`
			Model   string     `json:"model"`
			Trace   string     `json:"trace,omitempty"`
		}{t, t.Model, trace})
		if err != nil {
			return p, err
		}
		p.Run = &ledger.Run{ID: runID(t, s.Accepted), Pipeline: "retrain", Model: t.Model, State: ledger.RunRequested,
			Input: input, RequestedAt: now}
	}
	if !automatic(t.Source) || t.Resolved || p.Decision == dg.Ignored || !s.ResolvedAt.IsZero() {
		return p, nil
	}
	inc := openIncident(s, now, o)
	if p.Decision == dg.Duplicate && (inc == nil || s.Prior == nil || s.Prior.IncidentID != inc.ID) {
		return p, nil // news of a cause that is over
	}
	if inc != nil {
		p.IncidentID = inc.ID
	} else {
		p.IncidentID = "incident-" + t.Model + "-" + digest(t.Model, t.DedupeKey, now.String())
	}
	switch p.Decision {
	case dg.Accepted:
		p.AnswerID, p.OwnAnswer = p.Run.ID, true
	case dg.Busy:
		p.AnswerID = s.Unfinished
	}
	return p, nil
}

// Requested lists the accepted runs that nobody has started yet, oldest first:
// also those of a process that died in between.
func (i *Inbox) Requested(ctx context.Context) ([]ledger.Run, error) {
	runs, err := i.ledger.UnfinishedRuns(ctx)
	if err != nil {
		return nil, fmt.Errorf("trigger: list requested runs: %w", err)
	}
	return slices.DeleteFunc(runs, func(r ledger.Run) bool { return r.State != ledger.RunRequested }), nil
}

// Reconsider answers anew what was put off: for each model whose open incident
// has no answer, the causes that still last are decided again, as if delivered
// again. It returns the decisions that changed.
func (i *Inbox) Reconsider(ctx context.Context) ([]ledger.TriggerRecord, error) {
	waiting, err := i.ledger.UnansweredTriggers(ctx)
	if err != nil {
		return nil, fmt.Errorf("trigger: reconsider: %w", err)
	}
	now := i.o.Now().UTC()
	var changed []ledger.TriggerRecord
	for _, w := range waiting {
		rec, err := i.ledger.ReconsiderTrigger(ctx, w, now, func(s ledger.TriggerState) (ledger.TriggerPlan, error) {
			return plan(s, w.Trigger, now, i.options(), "") // who asked is long answered
		})
		if err != nil {
			return changed, fmt.Errorf("trigger: reconsider %s: %w", w.ID, err)
		}
		if rec.Decision == dg.Duplicate || rec.Decision == w.Decision && rec.RunID == w.RunID {
			continue
		}
		i.answers.WithLabelValues(string(rec.Source), string(rec.Decision)).Inc()
		i.log.Info("trigger answered anew", "source", rec.Source, "model", rec.Model, "before", w.Decision,
			"decision", rec.Decision, "note", rec.Note, "run", rec.RunID)
		changed = append(changed, rec)
	}
	return changed, nil
}

var modelForm = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// normal checks a trigger and fills what may be left out: At, and a person's
// dedupe key, which then is new.
func normal(t dg.Trigger, now time.Time) (dg.Trigger, error) {
	var errs []error
	if !slices.Contains(dg.TriggerSources, t.Source) {
		errs = append(errs, fmt.Errorf("source %q: want one of %v: %w", t.Source, dg.TriggerSources, dg.ErrInvalid))
	}
	if !modelForm.MatchString(t.Model) {
		errs = append(errs, fmt.Errorf("model %q: want 1 to 63 lower-case letters, digits, - or _: %w", t.Model, dg.ErrInvalid))
	}
	if t.Source == dg.FromPerson && t.DedupeKey == "" {
		t.DedupeKey = "person-" + fresh()
	}
	if t.DedupeKey == "" || len(t.DedupeKey) > maxKey {
		errs = append(errs, fmt.Errorf("dedupe key of %d bytes: want 1 to %d: %w", len(t.DedupeKey), maxKey, dg.ErrInvalid))
	}
	if t.Resolved && !automatic(t.Source) {
		errs = append(errs, fmt.Errorf("resolved trigger of source %q: only alarms and alerts are resolved: %w", t.Source, dg.ErrInvalid))
	}
	if t.At.IsZero() {
		t.At = now
	}
	t.At, t.Since = t.At.UTC(), t.Since.UTC()
	t.Reason = cut(strings.ToValidUTF8(t.Reason, "?"), maxReason)
	if t.ID == "" {
		t.ID = "trigger-" + fresh()
	}
	return t, errors.Join(errs...)
}

func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// runID is the same for every delivery of one cause; attempt counts the runs
// that the cause has had before.
func runID(t dg.Trigger, attempt int) string {
	return "retrain-" + t.Model + "-" + digest(string(t.Source), t.DedupeKey, fmt.Sprint(attempt))
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:5])
}

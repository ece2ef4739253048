package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	dg "driftgate"
)

// TriggerRecord is a trigger with the answer it got.
type TriggerRecord struct {
	dg.Trigger
	Decision   dg.TriggerDecision `json:"decision"`
	RunID      string             `json:"run_id,omitempty"`      // accepted: the run it started
	IncidentID string             `json:"incident_id,omitempty"` // that it opened or joined
	Note       string             `json:"note,omitempty"`        // why, in one sentence
	DecidedAt  time.Time          `json:"decided_at"`
	HeardAt    time.Time          `json:"heard_at"`   // newest delivery with this answer
	Deliveries int                `json:"deliveries"` // how often it came with this answer, duplicates included
}

// TriggerState is what a decision on one trigger rests on.
type TriggerState struct {
	Prior         *TriggerRecord // newest decision on the same cause and direction; nil when it is new
	ResolvedAt    time.Time      // when the cause's resolution came; zero if it has not
	Unfinished    string         // the model's requested or running run
	LastEnd       time.Time      // end of the model's newest finished retrain
	LastPromotion time.Time      // end of the newest retrain that promoted
	Recent        int            // retrains requested in the last 24 hours
	Accepted      int            // runs that this cause has started before
	Incident      *Incident      // the model's newest, open or over
}

// Incident is a span of trouble with one model.
type Incident struct {
	ID        string
	Model     string
	OpenedAt  time.Time
	AnswerID  string // the run that answers it, or that was under way when it opened
	OwnAnswer bool   // the run was started for it
	Answer    *Run   // that run; nil when there is none
	Causes    []Cause
}

// Cause is one alarm or alert that opened or joined an incident.
type Cause struct {
	Key        string // dedupe key
	Source     dg.TriggerSource
	HeardAt    time.Time // newest delivery
	ResolvedAt time.Time // zero while not resolved
}

// TriggerPlan is what a decision asks to be written.
type TriggerPlan struct {
	Decision   dg.TriggerDecision
	Note       string
	Run        *Run   // accepted: the run to enter
	IncidentID string // to which the cause belongs; entered when unknown; empty: none
	AnswerID   string // run to note as the incident's answer; empty leaves it
	OwnAnswer  bool
}

// triggersKept bounds the table; what open incidents rest on is kept besides.
const triggersKept = 20_000

// SubmitTrigger decides on t and writes trigger, incident and run in one
// transaction: decide sees no state that another delivery could still change. A
// delivery that changes nothing is counted on the row of the decision before.
func (l *Ledger) SubmitTrigger(ctx context.Context, t dg.Trigger, now time.Time, decide func(TriggerState) (TriggerPlan, error)) (TriggerRecord, error) {
	return l.decideTrigger(ctx, t, now, decide, false)
}

// ReconsiderTrigger decides again on a trigger that was put off; it is no
// delivery, so nothing is counted or heard, and only another decision is
// written.
func (l *Ledger) ReconsiderTrigger(ctx context.Context, rec TriggerRecord, now time.Time, decide func(TriggerState) (TriggerPlan, error)) (TriggerRecord, error) {
	return l.decideTrigger(ctx, rec.Trigger, now, decide, true)
}

func (l *Ledger) decideTrigger(ctx context.Context, t dg.Trigger, now time.Time, decide func(TriggerState) (TriggerPlan, error), again bool) (rec TriggerRecord, err error) {
	err = l.tx(ctx, "trigger "+t.ID, func(tx *sql.Tx) error {
		state, err := triggerState(ctx, tx, t, now)
		if err != nil {
			return err
		}
		plan, err := decide(state)
		if err != nil {
			return err
		}
		rec = TriggerRecord{Trigger: t, Decision: plan.Decision, Note: plan.Note, IncidentID: plan.IncidentID, DecidedAt: now, HeardAt: now, Deliveries: 1}
		if plan.Run != nil {
			plan.Run.TriggerID = t.ID
			rec.RunID = plan.Run.ID
			if err := putRun(ctx, tx, *plan.Run); err != nil {
				return err
			}
		}
		if err := writeIncident(ctx, tx, t, plan, now, again); err != nil {
			return err
		}
		if p := state.Prior; p != nil && plan.Run == nil && (plan.Decision == dg.Duplicate || plan.Decision == p.Decision) {
			rec.ID, rec.RunID, rec.IncidentID = p.ID, p.RunID, p.IncidentID
			if again {
				return nil
			}
			_, err := tx.ExecContext(ctx, `UPDATE triggers SET deliveries = deliveries + 1, heard_at = ?
				WHERE seq = (SELECT MAX(seq) FROM triggers WHERE model = ? AND dedupe_key = ? AND resolved = ?)`,
				nanos(now), t.Model, t.DedupeKey, t.Resolved)
			return err
		}
		return insertTrigger(ctx, tx, rec)
	})
	return rec, err
}

func insertTrigger(ctx context.Context, tx *sql.Tx, r TriggerRecord) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO triggers (id, source, model, reason, dedupe_key, resolved, at, since, decision, note,
		run_id, incident_id, decided_at, heard_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, string(r.Source), r.Model, r.Reason, r.DedupeKey, r.Resolved, nanos(r.At), nanos(r.Since), string(r.Decision), r.Note,
		r.RunID, r.IncidentID, nanos(r.DecidedAt), nanos(r.HeardAt))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM triggers WHERE seq <= (SELECT MAX(seq) FROM triggers) - ?
		AND NOT EXISTS (SELECT 1 FROM causes WHERE causes.dedupe_key = triggers.dedupe_key AND causes.resolved_at = 0)`, triggersKept)
	return err
}

// writeIncident enters the incident, its answer and the cause, or ends the
// cause when t is its resolution.
func writeIncident(ctx context.Context, tx *sql.Tx, t dg.Trigger, plan TriggerPlan, now time.Time, again bool) error {
	if t.Resolved {
		_, err := tx.ExecContext(ctx, `UPDATE causes SET resolved_at = ? WHERE dedupe_key = ? AND resolved_at = 0
			AND incident_id IN (SELECT id FROM incidents WHERE model = ?)`, nanos(now), t.DedupeKey, t.Model)
		return err
	}
	if plan.IncidentID == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO incidents (id, model, opened_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		plan.IncidentID, t.Model, nanos(now))
	if err != nil {
		return err
	}
	if plan.AnswerID != "" {
		_, err := tx.ExecContext(ctx, `UPDATE incidents SET answer_id = ?, own_answer = ? WHERE id = ?`, plan.AnswerID, plan.OwnAnswer, plan.IncidentID)
		if err != nil {
			return err
		}
	}
	set := `heard_at = excluded.heard_at`
	if again {
		set = `heard_at = causes.heard_at`
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO causes (incident_id, dedupe_key, source, heard_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (incident_id, dedupe_key) DO UPDATE SET `+set, plan.IncidentID, t.DedupeKey, string(t.Source), nanos(now))
	return err
}

func triggerState(ctx context.Context, tx *sql.Tx, t dg.Trigger, now time.Time) (TriggerState, error) {
	var s TriggerState
	prior, err := priorTrigger(ctx, tx, t, t.Resolved)
	if err != nil {
		return s, err
	}
	s.Prior = prior
	if !t.Resolved {
		end, err := priorTrigger(ctx, tx, t, true)
		if err != nil {
			return s, err
		}
		if end != nil {
			s.ResolvedAt = end.DecidedAt
		}
	}
	if s.Unfinished, err = unfinishedRun(ctx, tx, t.Model); err != nil {
		return s, err
	}
	var lastEnd, lastPromotion int64
	err = tx.QueryRowContext(ctx, `SELECT
		COALESCE((SELECT MAX(finished_at) FROM runs WHERE model = ?1 AND pipeline = 'retrain'), 0),
		COALESCE((SELECT MAX(finished_at) FROM runs WHERE model = ?1 AND pipeline = 'retrain' AND state = 'done' AND verdict = 'promote'), 0),
		(SELECT COUNT(*) FROM runs WHERE model = ?1 AND pipeline = 'retrain' AND requested_at > ?2),
		(SELECT COUNT(*) FROM triggers WHERE model = ?1 AND dedupe_key = ?3 AND decision = 'accepted')`,
		t.Model, nanos(now.Add(-24*time.Hour)), t.DedupeKey).Scan(&lastEnd, &lastPromotion, &s.Recent, &s.Accepted)
	if err != nil {
		return s, err
	}
	s.LastEnd, s.LastPromotion = fromNanos(lastEnd), fromNanos(lastPromotion)
	s.Incident, err = newestIncident(ctx, tx, t.Model)
	return s, err
}

const triggerColumns = `id, source, model, reason, dedupe_key, resolved, at, since, decision, note, run_id, incident_id, decided_at, heard_at, deliveries`

func scanTrigger(row scanner) (TriggerRecord, error) {
	var (
		r                         TriggerRecord
		at, since, decided, heard int64
	)
	err := row.Scan(&r.ID, &r.Source, &r.Model, &r.Reason, &r.DedupeKey, &r.Resolved, &at, &since, &r.Decision, &r.Note,
		&r.RunID, &r.IncidentID, &decided, &heard, &r.Deliveries)
	r.At, r.Since, r.DecidedAt, r.HeardAt = fromNanos(at), fromNanos(since), fromNanos(decided), fromNanos(heard)
	return r, err
}

func priorTrigger(ctx context.Context, tx *sql.Tx, t dg.Trigger, resolved bool) (*TriggerRecord, error) {
	r, err := scanTrigger(tx.QueryRowContext(ctx, `SELECT `+triggerColumns+` FROM triggers
		WHERE model = ? AND dedupe_key = ? AND resolved = ? ORDER BY seq DESC LIMIT 1`, t.Model, t.DedupeKey, resolved))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r, err
}

func newestIncident(ctx context.Context, tx *sql.Tx, model string) (*Incident, error) {
	var (
		inc    Incident
		opened int64
	)
	err := tx.QueryRowContext(ctx, `SELECT id, model, opened_at, answer_id, own_answer FROM incidents WHERE model = ? ORDER BY seq DESC LIMIT 1`, model).
		Scan(&inc.ID, &inc.Model, &opened, &inc.AnswerID, &inc.OwnAnswer)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	inc.OpenedAt = fromNanos(opened)
	if inc.AnswerID != "" {
		r, err := findRun(ctx, tx, inc.AnswerID)
		if err != nil && !errors.Is(err, dg.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			inc.Answer = &r
		}
	}
	inc.Causes, err = causesOf(ctx, tx, inc.ID)
	return &inc, err
}

func causesOf(ctx context.Context, tx *sql.Tx, incident string) ([]Cause, error) {
	rows, err := tx.QueryContext(ctx, `SELECT dedupe_key, source, heard_at, resolved_at FROM causes WHERE incident_id = ? ORDER BY dedupe_key`, incident)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Cause
	for rows.Next() {
		var (
			c               Cause
			heard, resolved int64
		)
		if err := rows.Scan(&c.Key, &c.Source, &heard, &resolved); err != nil {
			return nil, err
		}
		c.HeardAt, c.ResolvedAt = fromNanos(heard), fromNanos(resolved)
		out = append(out, c)
	}
	return out, rows.Err()
}

// Triggers returns the newest decisions, newest first; limit 0 means all.
func (l *Ledger) Triggers(ctx context.Context, limit int) ([]TriggerRecord, error) {
	if limit <= 0 {
		limit = math.MaxInt
	}
	scan := func(rows *sql.Rows) (TriggerRecord, error) { return scanTrigger(rows) }
	return collect(ctx, l, "triggers", scan, `SELECT `+triggerColumns+` FROM triggers ORDER BY seq DESC LIMIT ?`, limit)
}

// UnansweredTriggers returns, for the newest incident of each model, the newest
// decision on every unresolved cause that was put off (busy, cooldown, budget)
// or whose run failed; oldest first.
func (l *Ledger) UnansweredTriggers(ctx context.Context) ([]TriggerRecord, error) {
	scan := func(rows *sql.Rows) (TriggerRecord, error) { return scanTrigger(rows) }
	return collect(ctx, l, "unanswered triggers", scan, `SELECT `+triggerColumns+` FROM triggers
		WHERE seq IN (SELECT MAX(t.seq) FROM causes c
				JOIN incidents i ON i.id = c.incident_id AND i.seq = (SELECT MAX(seq) FROM incidents WHERE model = i.model)
				JOIN triggers t ON t.model = i.model AND t.dedupe_key = c.dedupe_key AND t.resolved = 0
				WHERE c.resolved_at = 0 GROUP BY c.dedupe_key, i.model)
			AND (decision IN ('busy', 'cooldown', 'budget')
				OR (SELECT r.state FROM incidents i JOIN runs r ON r.id = i.answer_id WHERE i.id = triggers.incident_id) = 'failed')
		ORDER BY seq`)
}

// TriggerFor returns the decision that started a run, the newest when it was
// restarted; the error may be [driftgate.ErrNotFound].
func (l *Ledger) TriggerFor(ctx context.Context, runID string) (TriggerRecord, error) {
	r, err := scanTrigger(l.read.QueryRowContext(ctx, `SELECT `+triggerColumns+` FROM triggers WHERE run_id = ? ORDER BY seq DESC LIMIT 1`, runID))
	if errors.Is(err, sql.ErrNoRows) {
		err = dg.ErrNotFound
	}
	if err != nil {
		return TriggerRecord{}, fmt.Errorf("ledger: trigger of run %s: %w", runID, err)
	}
	return r, nil
}

package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	dg "driftgate"
)

// The states of a run. The last three are final.
const (
	RunRequested = "requested" // accepted, nobody has started it yet
	RunRunning   = "running"   // also while nobody works on it, between a crash and the next start
	RunDone      = "done"
	RunFailed    = "failed"
	RunCancelled = "cancelled"
)

// Run is one execution of a pipeline: kept when nothing else of it is.
type Run struct {
	ID              string          `json:"id"`
	Pipeline        string          `json:"pipeline"`
	Model           string          `json:"model,omitempty"` // the model that the run may change; at most one unfinished run each
	State           string          `json:"state"`
	TriggerID       string          `json:"trigger_id,omitempty"`
	Verdict         string          `json:"verdict,omitempty"` // of retrains: promote, reject, inconclusive
	Input           json.RawMessage `json:"input,omitempty"`
	Progress        json.RawMessage `json:"progress,omitempty"`
	Result          json.RawMessage `json:"result,omitempty"`
	Error           string          `json:"error,omitempty"`
	CancelRequested bool            `json:"cancel_requested,omitempty"`
	RequestedAt     time.Time       `json:"requested_at,omitzero"`
	StartedAt       time.Time       `json:"started_at,omitzero"`
	FinishedAt      time.Time       `json:"finished_at,omitzero"`
}

// Finished reports whether the run is in a final state.
func (r Run) Finished() bool {
	return r.State == RunDone || r.State == RunFailed || r.State == RunCancelled
}

const runColumns = `id, pipeline, model, state, trigger_id, verdict, input, progress, result, error, cancel, requested_at, started_at, finished_at`

func scanRun(row scanner) (Run, error) {
	var (
		r                            Run
		input, progress, result      string
		requested, started, finished int64
	)
	err := row.Scan(&r.ID, &r.Pipeline, &r.Model, &r.State, &r.TriggerID, &r.Verdict, &input, &progress, &result, &r.Error,
		&r.CancelRequested, &requested, &started, &finished)
	if err != nil {
		return Run{}, err
	}
	r.Input, r.Progress, r.Result = raw(input), raw(progress), raw(result)
	r.RequestedAt, r.StartedAt, r.FinishedAt = fromNanos(requested), fromNanos(started), fromNanos(finished)
	return r, nil
}

func scanRunRows(rows *sql.Rows) (Run, error) { return scanRun(rows) }

func raw(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

func findRun(ctx context.Context, q querier, id string) (Run, error) {
	r, err := scanRun(q.QueryRowContext(ctx, `SELECT `+runColumns+` FROM runs WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Run{}, fmt.Errorf("run %q: %w", id, dg.ErrNotFound)
	}
	return r, err
}

// putRun writes a whole row. The error is [driftgate.ErrBusy] when it would be
// its model's second unfinished run.
func putRun(ctx context.Context, tx *sql.Tx, r Run) error {
	if r.ID == "" || r.Pipeline == "" {
		return fmt.Errorf("run %q of pipeline %q: want both: %w", r.ID, r.Pipeline, dg.ErrInvalid)
	}
	if r.Model != "" && !r.Finished() {
		other, err := unfinishedRun(ctx, tx, r.Model)
		if err != nil {
			return err
		}
		if other != "" && other != r.ID {
			return fmt.Errorf("run %s of %s is under way: %w", other, r.Model, dg.ErrBusy)
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO runs (`+runColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET pipeline = excluded.pipeline, model = excluded.model, state = excluded.state,
		trigger_id = excluded.trigger_id, verdict = excluded.verdict, input = excluded.input, progress = excluded.progress,
		result = excluded.result, error = excluded.error, cancel = excluded.cancel, requested_at = excluded.requested_at,
		started_at = excluded.started_at, finished_at = excluded.finished_at`,
		r.ID, r.Pipeline, r.Model, r.State, r.TriggerID, r.Verdict, string(r.Input), string(r.Progress), string(r.Result), r.Error,
		r.CancelRequested, nanos(r.RequestedAt), nanos(r.StartedAt), nanos(r.FinishedAt))
	return err
}

func unfinishedRun(ctx context.Context, tx *sql.Tx, model string) (id string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id FROM runs WHERE model = ? AND state IN ('requested', 'running')`, model).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// SaveRun enters a run or replaces all of it. The error is [driftgate.ErrBusy]
// when its model has another unfinished run, [driftgate.ErrInvalid] without id
// or pipeline.
func (l *Ledger) SaveRun(ctx context.Context, r Run) error {
	return l.tx(ctx, "save run "+r.ID, func(tx *sql.Tx) error { return putRun(ctx, tx, r) })
}

// Run returns one run; the error may be [driftgate.ErrNotFound].
func (l *Ledger) Run(ctx context.Context, id string) (Run, error) {
	r, err := findRun(ctx, l.read, id)
	if err != nil {
		return Run{}, fmt.Errorf("ledger: run: %w", err)
	}
	return r, nil
}

// Runs returns the newest runs of a pipeline, or of all when it is "", newest
// first; limit 0 means all.
func (l *Ledger) Runs(ctx context.Context, pipeline string, limit int) ([]Run, error) {
	where, args := "", []any{}
	if pipeline != "" {
		where, args = "WHERE pipeline = ? ", append(args, pipeline)
	}
	if limit <= 0 {
		limit = math.MaxInt
	}
	return collect(ctx, l, "runs", scanRunRows, `SELECT `+runColumns+` FROM runs `+where+`ORDER BY requested_at DESC, rowid DESC LIMIT ?`,
		append(args, limit)...)
}

// UnfinishedRuns returns every run that is requested or running, oldest first.
func (l *Ledger) UnfinishedRuns(ctx context.Context) ([]Run, error) {
	return collect(ctx, l, "unfinished runs", scanRunRows, `SELECT `+runColumns+` FROM runs
		WHERE state IN ('requested', 'running') ORDER BY requested_at, rowid`)
}

// SetRunProgress replaces what an unfinished run says of how far it is; for a
// finished or unknown run it does nothing.
func (l *Ledger) SetRunProgress(ctx context.Context, id string, progress json.RawMessage) error {
	return l.tx(ctx, "set progress of run "+id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE runs SET progress = ? WHERE id = ? AND state IN ('requested', 'running')`, string(progress), id)
		return err
	})
}

// BeginRun makes r running unless it is so, or finished, already: a requested
// run keeps what it was requested with, an unknown one is entered. It returns
// the row as it is then. The error is [driftgate.ErrBusy] when the model has
// another unfinished run.
func (l *Ledger) BeginRun(ctx context.Context, r Run) (now Run, err error) {
	err = l.tx(ctx, "begin run "+r.ID, func(tx *sql.Tx) error {
		now, err = findRun(ctx, tx, r.ID)
		switch {
		case errors.Is(err, dg.ErrNotFound):
			now = r
			if now.RequestedAt.IsZero() {
				now.RequestedAt = r.StartedAt
			}
		case err != nil:
			return err
		case now.State != RunRequested:
			return nil
		}
		now.State, now.StartedAt = RunRunning, r.StartedAt
		return putRun(ctx, tx, now)
	})
	return now, err
}

// FinishRun moves an unfinished run to the final state, verdict, result and
// error of end, at end.FinishedAt; a finished one stays as it is. It returns the
// row as it is then. The error may be [driftgate.ErrNotFound].
func (l *Ledger) FinishRun(ctx context.Context, end Run) (now Run, err error) {
	if !end.Finished() {
		return Run{}, fmt.Errorf("ledger: finish run %s: state %q is not final: %w", end.ID, end.State, dg.ErrInvalid)
	}
	err = l.tx(ctx, "finish run "+end.ID, func(tx *sql.Tx) error {
		if now, err = findRun(ctx, tx, end.ID); err != nil || now.Finished() {
			return err
		}
		now.State, now.Verdict, now.Result, now.Error, now.FinishedAt = end.State, end.Verdict, end.Result, end.Error, end.FinishedAt
		return putRun(ctx, tx, now)
	})
	return now, err
}

// RestartRun makes a failed or cancelled run requested again, as new; any other
// stays as it is. It returns the row as it is then. The error may be
// [driftgate.ErrNotFound] or [driftgate.ErrBusy].
func (l *Ledger) RestartRun(ctx context.Context, id string, at time.Time) (now Run, err error) {
	err = l.tx(ctx, "restart run "+id, func(tx *sql.Tx) error {
		if now, err = findRun(ctx, tx, id); err != nil || (now.State != RunFailed && now.State != RunCancelled) {
			return err
		}
		now = Run{ID: now.ID, Pipeline: now.Pipeline, Model: now.Model, TriggerID: now.TriggerID, Input: now.Input,
			State: RunRequested, RequestedAt: at}
		return putRun(ctx, tx, now)
	})
	return now, err
}

// CancelRun ends a requested run at once and notes on a running one that it is
// to end; a finished one stays as it is. It returns the row as it is then. The
// error may be [driftgate.ErrNotFound].
func (l *Ledger) CancelRun(ctx context.Context, id string, at time.Time) (now Run, err error) {
	err = l.tx(ctx, "cancel run "+id, func(tx *sql.Tx) error {
		if now, err = findRun(ctx, tx, id); err != nil || now.Finished() {
			return err
		}
		if now.CancelRequested = true; now.State == RunRequested {
			now.State, now.FinishedAt, now.Error = RunCancelled, at, "cancelled before it started"
		}
		return putRun(ctx, tx, now)
	})
	return now, err
}

// PruneRuns deletes the finished runs of pipelines that change no model, all
// but the newest keep; runs that name a model are history and stay.
func (l *Ledger) PruneRuns(ctx context.Context, keep int) error {
	return l.tx(ctx, "prune runs", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM runs WHERE model = '' AND state IN ('done', 'failed', 'cancelled') AND requested_at <
			(SELECT requested_at FROM runs WHERE model = '' ORDER BY requested_at DESC LIMIT 1 OFFSET ?)`, max(keep, 0))
		return err
	})
}

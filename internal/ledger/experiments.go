package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	dg "driftgate"
)

// Experiment is the row of a training run, a trial or an evaluation. What is
// JSON here has its meaning and its limits in internal/experiment.
type Experiment struct {
	ID, Kind, Parent, RunID string
	Version                 dg.ModelRef
	State, Verdict, Error   string
	Parameters, Metrics     json.RawMessage // flat objects; nil: empty
	Environment, Curves     json.RawMessage
	StartedAt, FinishedAt   time.Time

	// Tags and Note are people's: [Ledger.PutExperiment] sets them on a new row
	// only, [Ledger.EditExperiment] changes them.
	Tags json.RawMessage
	Note string
}

// ExperimentQuery chooses experiments; each empty field lets all pass.
type ExperimentQuery struct {
	Kind, Parent, RunID, State string
	Version                    dg.ModelRef

	// BeforeTime and BeforeID are the start and id of the last row of the page
	// before; zero values ask for the first page.
	BeforeTime time.Time
	BeforeID   string
	Limit      int  // rows of a page; 0 means all
	Curves     bool // fill Curves, which may be long
}

const experimentColumns = `id, kind, parent, run_id, model_version, state, verdict, error, parameters, metrics, environment, tags, note, started_at, finished_at`

func scanExperiment(row scanner) (e Experiment, err error) {
	var parameters, metrics, environment, tags, curves string
	var started, finished int64
	err = row.Scan(&e.ID, &e.Kind, &e.Parent, &e.RunID, &e.Version, &e.State, &e.Verdict, &e.Error, &parameters, &metrics, &environment, &tags, &e.Note,
		&started, &finished, &curves)
	e.Parameters, e.Metrics, e.Environment, e.Tags, e.Curves = raw(parameters), raw(metrics), raw(environment), raw(tags), raw(curves)
	e.StartedAt, e.FinishedAt = fromNanos(started), fromNanos(finished)
	return e, err
}

// PutExperiment enters an experiment or replaces all of it but its tags and its
// note. The error is [driftgate.ErrInvalid] without id, kind, state or start.
func (l *Ledger) PutExperiment(ctx context.Context, e Experiment) error {
	if e.ID == "" || e.Kind == "" || e.State == "" || e.StartedAt.IsZero() {
		return fmt.Errorf("ledger: put experiment %q of kind %q in state %q: want all of them and a start: %w", e.ID, e.Kind, e.State, dg.ErrInvalid)
	}
	return l.tx(ctx, "put experiment "+e.ID, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO experiments (`+experimentColumns+`, curves) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, parent = excluded.parent, run_id = excluded.run_id,
			model_version = excluded.model_version, state = excluded.state, verdict = excluded.verdict, error = excluded.error,
			parameters = excluded.parameters, metrics = excluded.metrics, environment = excluded.environment, curves = excluded.curves,
			started_at = excluded.started_at, finished_at = excluded.finished_at`,
			e.ID, e.Kind, e.Parent, e.RunID, string(e.Version), e.State, e.Verdict, e.Error, string(e.Parameters), string(e.Metrics), string(e.Environment),
			string(e.Tags), e.Note, nanos(e.StartedAt), nanos(e.FinishedAt), string(e.Curves))
		return err
	})
}

// Experiment returns one experiment with its curves; the error may be
// [driftgate.ErrNotFound].
func (l *Ledger) Experiment(ctx context.Context, id string) (Experiment, error) {
	e, err := findExperiment(ctx, l.read, id)
	if err != nil {
		return Experiment{}, fmt.Errorf("ledger: experiment: %w", err)
	}
	return e, nil
}

func findExperiment(ctx context.Context, q querier, id string) (Experiment, error) {
	e, err := scanExperiment(q.QueryRowContext(ctx, `SELECT `+experimentColumns+`, curves FROM experiments WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Experiment{}, fmt.Errorf("experiment %q: %w", id, dg.ErrNotFound)
	}
	return e, err
}

// Experiments returns a page of experiments, the latest started first, those of
// one moment by id backwards.
func (l *Ledger) Experiments(ctx context.Context, q ExperimentQuery) ([]Experiment, error) {
	where, args := []string{"1 = 1"}, []any{}
	for _, c := range []struct{ column, value string }{
		{"kind", q.Kind}, {"parent", q.Parent}, {"run_id", q.RunID}, {"state", q.State}, {"model_version", string(q.Version)},
	} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if q.BeforeID != "" || !q.BeforeTime.IsZero() {
		where, args = append(where, "(started_at, id) < (?, ?)"), append(args, nanos(q.BeforeTime), q.BeforeID)
	}
	if q.Limit <= 0 {
		q.Limit = math.MaxInt
	}
	curves := "''"
	if q.Curves {
		curves = "curves"
	}
	return collect(ctx, l, "experiments", func(rows *sql.Rows) (Experiment, error) { return scanExperiment(rows) },
		`SELECT `+experimentColumns+`, `+curves+` FROM experiments WHERE `+strings.Join(where, " AND ")+`
		ORDER BY started_at DESC, id DESC LIMIT ?`, append(args, q.Limit)...)
}

// EditExperiment changes an experiment's tags and note in one step; edit gets
// what they are. It returns the row as it is then. The error may be
// [driftgate.ErrNotFound], or that of edit, which changes nothing.
func (l *Ledger) EditExperiment(ctx context.Context, id string, edit func(tags json.RawMessage, note string) (json.RawMessage, string, error)) (now Experiment, err error) {
	err = l.tx(ctx, "edit experiment "+id, func(tx *sql.Tx) error {
		if now, err = findExperiment(ctx, tx, id); err != nil {
			return err
		}
		if now.Tags, now.Note, err = edit(now.Tags, now.Note); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE experiments SET tags = ?, note = ? WHERE id = ?`, string(now.Tags), now.Note, id)
		return err
	})
	if err != nil {
		return Experiment{}, err
	}
	return now, nil
}

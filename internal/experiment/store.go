package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Ledger is what a store asks of [ledger.Ledger].
type Ledger interface {
	PutExperiment(ctx context.Context, e ledger.Experiment) error
	Experiment(ctx context.Context, id string) (ledger.Experiment, error)
	Experiments(ctx context.Context, q ledger.ExperimentQuery) ([]ledger.Experiment, error)
	EditExperiment(ctx context.Context, id string, edit func(tags json.RawMessage, note string) (json.RawMessage, string, error)) (ledger.Experiment, error)
}

// Store keeps records in the ledger.
type Store struct{ ledger Ledger }

// NewStore returns the store over a ledger.
func NewStore(l Ledger) *Store { return &Store{l} }

// Put enters a record or replaces all of it but its tags and its note, which
// are people's. The error is [driftgate.ErrInvalid] when it does not
// [Record.Validate].
func (s *Store) Put(ctx context.Context, r Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	row := ledger.Experiment{ID: r.ID, Kind: r.Kind, Parent: r.Parent, RunID: r.RunID, Version: r.Version, State: r.State, Verdict: r.Verdict,
		Error: r.Error, Note: r.Note, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt}
	var errs []error
	row.Parameters, row.Metrics, row.Environment = encode(r.Parameters, &errs), encode(r.Metrics, &errs), encode(r.Environment, &errs)
	row.Tags, row.Curves = encode(r.Tags, &errs), encode(r.Curves, &errs)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("experiment: put %s: %w", r.ID, err)
	}
	return s.ledger.PutExperiment(ctx, row)
}

func encode[V any](m map[string]V, errs *[]error) json.RawMessage {
	if len(m) == 0 {
		return nil
	}
	b, err := json.Marshal(m)
	*errs = append(*errs, err)
	return b
}

func decode(row ledger.Experiment) (Record, error) {
	r := Record{ID: row.ID, Kind: row.Kind, Parent: row.Parent, RunID: row.RunID, Version: row.Version, State: row.State, Verdict: row.Verdict,
		Error: row.Error, Note: row.Note, StartedAt: row.StartedAt, FinishedAt: row.FinishedAt}
	for _, part := range []struct {
		from json.RawMessage
		into any
	}{{row.Parameters, &r.Parameters}, {row.Metrics, &r.Metrics}, {row.Environment, &r.Environment}, {row.Tags, &r.Tags}, {row.Curves, &r.Curves}} {
		if len(part.from) == 0 {
			continue
		}
		if err := json.Unmarshal(part.from, part.into); err != nil {
			return r, fmt.Errorf("experiment: read %s: %w: %w", row.ID, dg.ErrInvalid, err)
		}
	}
	return r, nil
}

// Get returns one record with its curves; the error may be
// [driftgate.ErrNotFound].
func (s *Store) Get(ctx context.Context, id string) (Record, error) {
	row, err := s.ledger.Experiment(ctx, id)
	if err != nil {
		return Record{}, err
	}
	return decode(row)
}

// Made returns the record of the training that made a version, without curves;
// the error is [driftgate.ErrNotFound] when none is known.
func (s *Store) Made(ctx context.Context, version dg.ModelRef) (Record, error) {
	if version != "" {
		rows, err := s.ledger.Experiments(ctx, ledger.ExperimentQuery{Version: version})
		if err != nil {
			return Record{}, err
		}
		for _, row := range rows {
			if row.Kind != Evaluation {
				return decode(row)
			}
		}
	}
	return Record{}, fmt.Errorf("experiment: of version %q: %w", version.Short(), dg.ErrNotFound)
}

// Children returns what goes on from a record, at most limit, the latest first,
// without curves.
func (s *Store) Children(ctx context.Context, id string, limit int) ([]Record, error) {
	if id == "" {
		return nil, nil
	}
	return s.read(ctx, ledger.ExperimentQuery{Parent: id, Limit: limit})
}

// Unfinished returns the records in state [Running], without curves.
func (s *Store) Unfinished(ctx context.Context) ([]Record, error) {
	return s.read(ctx, ledger.ExperimentQuery{State: Running})
}

func (s *Store) read(ctx context.Context, q ledger.ExperimentQuery) ([]Record, error) {
	rows, err := s.ledger.Experiments(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(rows))
	for _, row := range rows {
		r, err := decode(row)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Change is what a person changes on a record.
type Change struct {
	Tags map[string]*string // nil takes a tag off; those not named stay
	Note *string            // nil: stays
}

// Edit changes a record's tags and note. The error may be
// [driftgate.ErrNotFound], or [driftgate.ErrInvalid] for what they cannot be;
// then nothing has changed.
func (s *Store) Edit(ctx context.Context, id string, c Change) (Record, error) {
	row, err := s.ledger.EditExperiment(ctx, id, func(raw json.RawMessage, note string) (json.RawMessage, string, error) {
		tags := map[string]string{}
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &tags); err != nil {
				return nil, "", fmt.Errorf("tags: %w: %w", dg.ErrInvalid, err)
			}
		}
		for name, v := range c.Tags {
			if v == nil {
				delete(tags, name)
			} else {
				tags[name] = *v
			}
		}
		if c.Note != nil {
			note = *c.Note
		}
		if faults := checkOwn(tags, note); len(faults) > 0 {
			return nil, "", fmt.Errorf("experiment: %w: %w", dg.ErrInvalid, errors.Join(faults...))
		}
		var errs []error
		b := encode(tags, &errs)
		return b, note, errors.Join(errs...)
	})
	if err != nil {
		return Record{}, err
	}
	return decode(row)
}

// Query asks for a page of records.
type Query struct {
	Filter Filter
	Order  Order
	After  string // the Next of the page before
	Limit  int    // 1 to MaxPage; 0 means 50
	Curves bool   // with their curves
}

// Page is a page of records; Next asks for the one after, and is empty on the
// last.
type Page struct {
	Records []Record
	Next    string
}

// Limits on reading.
const (
	MaxPage   = 500
	MaxExport = 10_000
	batch     = 500 // rows that are read at a time
)

// List returns a page of the records that pass the filter, in order. Every
// record is looked at but in the default order, in which reading ends with the
// page. The error is [driftgate.ErrInvalid] for a limit or a cursor that cannot
// be.
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	if q.Limit == 0 {
		q.Limit = 50
	}
	if q.Limit < 0 || q.Limit > MaxPage {
		return Page{}, fmt.Errorf("experiment: limit %d: want 1 to %d: %w", q.Limit, MaxPage, dg.ErrInvalid)
	}
	return s.list(ctx, q)
}

func (s *Store) list(ctx context.Context, q Query) (page Page, err error) {
	var after *place
	if q.After != "" {
		p, err := parseCursor(q.After)
		if err != nil {
			return page, err
		}
		after = &p
	}
	best := []Record{}
	sorted := func() {
		slices.SortFunc(best, func(a, b Record) int { return q.Order.compare(q.Order.place(&a), q.Order.place(&b)) })
		best = best[:min(len(best), q.Limit+1)]
	}
	for r, err := range s.all(ctx, q.Order, after) {
		if err != nil {
			return page, err
		}
		if !q.Filter.Match(r) || (after != nil && q.Order.compare(q.Order.place(&r), *after) <= 0) {
			continue
		}
		best = append(best, r)
		if (q.Order == Order{}) && len(best) > q.Limit {
			break
		}
		if len(best) > 2*q.Limit+batch {
			sorted()
		}
	}
	sorted()
	if len(best) > q.Limit {
		best = best[:q.Limit]
		page.Next = q.Order.place(&best[len(best)-1]).cursor()
	}
	if q.Curves {
		for i := range best {
			if best[i], err = s.Get(ctx, best[i].ID); err != nil {
				return page, err
			}
		}
	}
	page.Records = best
	return page, nil
}

// all yields records without curves, the latest first; in that order it begins
// after the given place.
func (s *Store) all(ctx context.Context, o Order, after *place) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		q := ledger.ExperimentQuery{Limit: batch}
		if after != nil && (o == Order{}) {
			q.BeforeTime, q.BeforeID = after.Started, after.ID
		}
		for {
			records, err := s.read(ctx, q)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
			if len(records) < batch {
				return
			}
			last := records[len(records)-1]
			q.BeforeTime, q.BeforeID = last.StartedAt, last.ID
		}
	}
}

// Export yields the records that pass the filter, in order, at most
// [MaxExport], with their curves when asked for.
func (s *Store) Export(ctx context.Context, f Filter, o Order, curves bool) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		page, err := s.list(ctx, Query{Filter: f, Order: o, Limit: MaxExport})
		if err != nil {
			yield(Record{}, err)
			return
		}
		for _, r := range page.Records {
			if curves {
				r, err = s.Get(ctx, r.ID)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Fields are all fields that the records have a value in: the plain ones, then
// parameters, metrics, environment and tags by name.
func Fields(records []Record) []Field {
	var out []Field
	for _, name := range plainFields {
		out = append(out, Field{"", name})
	}
	names := map[string]map[string]bool{"params": {}, "metrics": {}, "env": {}, "tags": {}}
	for _, r := range records {
		for name := range r.Metrics {
			names["metrics"][name] = true
		}
		for group, texts := range map[string]map[string]string{"params": r.Parameters, "env": r.Environment, "tags": r.Tags} {
			for name := range texts {
				names[group][name] = true
			}
		}
	}
	for _, group := range []string{"params", "metrics", "env", "tags"} {
		for _, name := range slices.Sorted(maps.Keys(names[group])) {
			out = append(out, Field{group, name})
		}
	}
	return out
}

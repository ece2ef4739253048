package labelling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// CollectReport says what one run brought home.
type CollectReport struct {
	Collected int            `json:"collected"` // samples moved to clean and noisy
	Correct   int            `json:"correct"`   // of them, the model was right
	Line      string         `json:"line"`      // the batch line in its old form: biased, see the windowed estimate
	Already   int            `json:"already"`   // answers for samples that others had labelled meanwhile
	Unknown   []UnknownLabel `json:"unknown,omitempty"`
	Missing   []string       `json:"missing,omitempty"` // keys of answered samples whose image is nowhere
}

// UnknownLabel is an answer that is no class of the model; it is left waiting.
type UnknownLabel struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// collectBatch is how many answers are moved together: what a crash makes the
// next run repeat at most.
const collectBatch = 128

// collectingSetting keeps, across a crash, the answers whose images are being
// moved. Until those are done no other label may take their place, or an image
// would end up under two classes.
const collectingSetting = "labelling.collecting"

// Collect moves every sample whose answer is older than the undo window:
// label-wait is copied to clean and noisy under the human class's directory,
// with the tags as they were, the label source and the time of the label; then
// the copy under the predicted class is removed from noisy, then label-wait's,
// and only then the ledger calls it labelled. Each step may be repeated, so a
// crash at any point is repaired by the next run.
//
// When some samples fail, the others are collected nevertheless and the error
// names the first few.
func (s *Service) Collect(ctx context.Context) (CollectReport, error) {
	s.moving.Lock()
	defer s.moving.Unlock()
	var report CollectReport
	err := s.collect(ctx, &report)
	report.Line = batchLine(report.Correct, report.Collected)
	if err != nil {
		return report, fmt.Errorf("labelling: collect: %w", err)
	}
	return report, nil
}

// batchLine is what the system before driftgate printed.
func batchLine(correct, labelled int) string {
	if labelled == 0 {
		return "No completed tasks to evaluate."
	}
	return fmt.Sprintf("Accuracy on batch: %.2f%% (%d/%d)", 100*float64(correct)/float64(labelled), correct, labelled)
}

func (s *Service) collect(ctx context.Context, report *CollectReport) error {
	answers, err := s.due(ctx)
	if err != nil {
		return err
	}
	classes := s.o.Classes()
	if len(answers) > 0 && classes == nil {
		return fmt.Errorf("no model is loaded, so no class list for %d answers: %w", len(answers), dg.ErrIncomplete)
	}
	moves, err := s.moves(ctx, answers, classes, report)
	if err == nil {
		err = s.freeze(ctx, moves)
	}
	if err != nil {
		s.forgetFrozen()
		return err
	}
	var errs []error
	for batch := range slices.Chunk(moves, collectBatch) {
		if err := s.moveSome(ctx, batch, report); err != nil {
			errs = append(errs, err)
		}
	}
	if len(moves) > 0 {
		left := slices.DeleteFunc(moves, func(m *move) bool { return m.gone || m.collected })
		if err := s.freeze(ctx, left); err != nil {
			s.forgetFrozen()
			errs = append(errs, err)
		}
	}
	return joinFew(errs)
}

// due returns the answers to collect now: those whose moving was cut off, and
// those older than the undo window. From here on they may not change.
func (s *Service) due(ctx context.Context) ([]ledger.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.loadFrozen(ctx); err != nil {
		return nil, err
	}
	answers, err := s.ledger.Answers(ctx, endOfTime)
	if err != nil {
		return nil, err
	}
	before := s.o.Now().Add(-s.o.UndoWindow)
	due := answers[:0]
	for _, a := range answers {
		label, begun := s.frozen[a.ID]
		if !begun && a.At.After(before) {
			continue
		}
		if begun {
			a.Label = label
		}
		s.frozen[a.ID] = a.Label
		due = append(due, a)
	}
	return due, nil
}

// freeze makes these, and no others, the answers that may not change, durably.
func (s *Service) freeze(ctx context.Context, moves []*move) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]string, len(moves))
	for _, m := range moves {
		next[m.answer.ID] = m.answer.Label
	}
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if value, _, err := s.ledger.Setting(ctx, collectingSetting); err != nil {
		return err
	} else if value != string(b) && (value != "" || len(next) > 0) {
		if err := s.ledger.SetSetting(ctx, collectingSetting, string(b)); err != nil {
			return err
		}
	}
	s.frozen = next
	return nil
}

// forgetFrozen has what may not change read anew from the ledger.
func (s *Service) forgetFrozen() {
	s.mu.Lock()
	s.frozen = nil
	s.mu.Unlock()
}

// loadFrozen reads what an earlier process was collecting, once. s.mu is held.
func (s *Service) loadFrozen(ctx context.Context) error {
	if s.frozen != nil {
		return nil
	}
	value, ok, err := s.ledger.Setting(ctx, collectingSetting)
	if err != nil {
		return err
	}
	frozen := map[string]string{}
	if ok {
		if err := json.Unmarshal([]byte(value), &frozen); err != nil {
			return fmt.Errorf("setting %s: %w", collectingSetting, err)
		}
	}
	s.frozen = frozen
	return nil
}

// move is one answered sample on its way home.
type move struct {
	answer ledger.Answer
	record ledger.Record
	to     string // key under the human class

	copied    bool // clean and noisy have it
	collected bool // so does the ledger
	gone      bool // the image is nowhere
}

// moves pairs answers with their samples; what cannot be moved is reported.
func (s *Service) moves(ctx context.Context, answers []ledger.Answer, classes dg.Classes, report *CollectReport) ([]*move, error) {
	ids := make([]string, len(answers))
	for i, a := range answers {
		ids[i] = a.ID
	}
	records, err := s.ledger.Records(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var out []*move
	for _, a := range answers {
		r, ok := records[a.ID]
		class := classes.Index(a.Label)
		switch {
		case !ok:
			report.Missing = append(report.Missing, a.ID)
		case r.State == ledger.Labelled:
			if err := s.outdated(ctx, a, r); err != nil {
				return nil, err
			}
			report.Already++
		case class < 0:
			report.Unknown = append(report.Unknown, UnknownLabel{a.ID, a.Label})
			s.o.Logger.Warn("an answer is no class of the model; the task is left waiting", "id", a.ID, "label", a.Label)
		default:
			out = append(out, &move{answer: a, record: r, to: dg.SampleKey(class, a.ID)})
		}
	}
	return out, nil
}

// outdated drops the answer for a sample that others labelled meanwhile, and
// what is left of its task.
func (s *Service) outdated(ctx context.Context, a ledger.Answer, r ledger.Record) error {
	if a.Label != r.Label {
		s.o.Logger.Warn("an answer comes after another label, which stands", "id", a.ID, "answer", a.Label, "label", r.Label)
	}
	if err := s.store.Delete(ctx, s.buckets.Waiting, r.Key); err != nil {
		return err
	}
	a.Label = r.Label
	return s.ledger.Collected(ctx, a)
}

// moveSome carries one batch through the steps, all samples by each step
// together, so that deletions go in bulk.
func (s *Service) moveSome(ctx context.Context, batch []*move, report *CollectReport) error {
	errs := []error{each(ctx, s.o.Workers, batch, func(ctx context.Context, _ int, m *move) error { return s.copyHome(ctx, m) })}
	var stale, waiting []string
	done := batch[:0:0]
	for _, m := range batch {
		switch {
		case m.gone:
			report.Missing = append(report.Missing, m.record.Key)
			s.o.Logger.Error("an answered prediction's image is nowhere", "key", m.record.Key)
		case m.copied:
			if m.record.Key != m.to {
				stale = append(stale, m.record.Key)
			}
			waiting = append(waiting, m.record.Key)
			done = append(done, m)
		}
	}
	for _, d := range []struct {
		bucket string
		keys   []string
	}{{s.buckets.Noisy, stale}, {s.buckets.Waiting, waiting}} {
		if len(d.keys) == 0 {
			continue
		}
		if err := s.store.Delete(ctx, d.bucket, d.keys...); err != nil {
			return joinFew(append(errs, err))
		}
	}
	for _, m := range done {
		if err := s.ledger.Collected(ctx, m.answer); err != nil {
			errs = append(errs, err)
			continue
		}
		m.collected = true
		report.Collected++
		if m.answer.Label == m.record.PredictedClass {
			report.Correct++
		}
	}
	return joinFew(errs)
}

// copyHome copies a sample to clean and noisy. When label-wait has it no more,
// an earlier run came as far as deleting it there, or somebody else did: then
// production's copy does, if clean has none.
func (s *Service) copyHome(ctx context.Context, m *move) error {
	from := s.buckets.Waiting
	tags, err := s.store.Tags(ctx, from, m.record.Key)
	if errors.Is(err, dg.ErrNotFound) {
		if _, err := s.store.Stat(ctx, s.buckets.Clean, m.to); err == nil || !errors.Is(err, dg.ErrNotFound) {
			m.copied = err == nil
			return err
		}
		from = s.buckets.Production
		if tags, err = s.store.Tags(ctx, from, m.record.Key); errors.Is(err, dg.ErrNotFound) {
			m.gone = true
			return nil
		}
	}
	if err != nil {
		return err
	}
	tags = withTags(tags, decisionTags(m.record))
	tags[dg.TagLabelSource] = string(m.answer.Source)
	tags[dg.TagLabelledAt] = m.answer.At.UTC().Format(dg.TimeFormat)
	tags = withTags(tags, nil)
	for _, bucket := range []string{s.buckets.Clean, s.buckets.Noisy} {
		if err := s.store.Copy(ctx, from, m.record.Key, bucket, m.to, tags); err != nil {
			return err
		}
	}
	m.copied = true
	return nil
}

var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

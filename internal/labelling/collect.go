package labelling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// CollectReport says what one run brought home.
type CollectReport struct {
	Collected int            `json:"collected"`      // samples moved to clean and noisy
	Correct   int            `json:"correct"`        // of them, the model was right
	Line      string         `json:"line"`           // the batch line in its old form: biased, see the windowed estimate
	Already   int            `json:"already"`        // answers for samples that others had labelled meanwhile
	Disputed  int            `json:"disputed"`       // of those collected, people did not agree
	Tied      []string       `json:"tied,omitempty"` // ids of those whose label was the first named of as many answers
	Unknown   []UnknownLabel `json:"unknown,omitempty"`
	Missing   []string       `json:"missing,omitempty"` // keys of answered samples whose image is nowhere
}

// UnknownLabel is an answer that is no class of the model; it is left waiting.
type UnknownLabel struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// collectBatch is how many samples are moved together: what a crash makes the
// next run repeat at most.
const collectBatch = 128

// Collect moves every sample about which enough people have answered, the last
// of them longer ago than the undo window: label-wait is copied to clean and noisy under the human class's directory,
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
	moves, err := s.cutOff(ctx, report)
	if err != nil {
		return err
	}
	var errs []error
	for batch := range slices.Chunk(moves, collectBatch) {
		errs = append(errs, s.moveSome(ctx, batch, report))
	}
	for last := (ledger.Poll{}); ; {
		batch, next, err := s.due(ctx, last, report)
		if err != nil {
			return joinFew(append(errs, err))
		}
		before := report.Collected
		if err := s.moveSome(ctx, batch, report); err != nil {
			if errs = append(errs, err); report.Collected == before { // the store is away: the rest can wait
				return joinFew(errs)
			}
		}
		if last = next; last.ID == "" {
			return joinFew(errs)
		}
	}
}

// cutOff returns what earlier runs did not bring home, under the label that
// was decided then.
func (s *Service) cutOff(ctx context.Context, report *CollectReport) ([]*move, error) {
	moving, err := s.ledger.Moving(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(moving))
	for i, a := range moving {
		ids[i] = a.ID
	}
	answers, err := s.ledger.AnswersOf(ctx, ids...)
	if err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(moving))
	for i, a := range moving {
		if given := answers[a.ID]; len(given) > 0 {
			outcomes[i] = count(given, "")
		}
		outcomes[i].Answer = a
	}
	return s.moves(ctx, outcomes, report)
}

// due takes the next batch of samples to collect, behind the given one: their
// answers may not change from here on. next is the zero Poll behind the last.
func (s *Service) due(ctx context.Context, after ledger.Poll, report *CollectReport) (batch []*move, next ledger.Poll, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	polls, err := s.ledger.Decided(ctx, s.o.quorum(), s.o.Now().Add(-s.o.UndoWindow), after, collectBatch)
	if err != nil || len(polls) == 0 {
		return nil, next, err
	}
	ids := make([]string, len(polls))
	for i, p := range polls {
		ids[i] = p.ID
	}
	answers, err := s.ledger.AnswersOf(ctx, ids...)
	if err != nil {
		return nil, next, err
	}
	records, err := s.ledger.Records(ctx, ids...)
	if err != nil {
		return nil, next, err
	}
	var outcomes []outcome
	for _, id := range ids {
		outcomes = append(outcomes, count(answers[id], records[id].PredictedClass))
	}
	if batch, err = s.moves(ctx, outcomes, report); err != nil {
		return nil, next, err
	}
	labels := make([]ledger.Answer, len(batch))
	for i, m := range batch {
		labels[i] = m.answer.Answer
	}
	if len(polls) == collectBatch {
		next = polls[len(polls)-1]
	}
	return batch, next, s.ledger.Move(ctx, labels...)
}

// move is one answered sample on its way home.
type move struct {
	answer outcome
	record ledger.Record
	to     string   // key under the human class
	former []string // keys under labels that were taken back: copies may lie in noisy

	copied bool // clean and noisy have it
	gone   bool // the image is nowhere
}

// moves pairs labels with their samples; what cannot be moved is reported.
func (s *Service) moves(ctx context.Context, labels []outcome, report *CollectReport) ([]*move, error) {
	classes := s.o.Classes()
	if len(labels) > 0 && classes == nil {
		return nil, fmt.Errorf("no model is loaded, so no class list for the answers: %w", dg.ErrIncomplete)
	}
	ids := make([]string, len(labels))
	for i, a := range labels {
		ids[i] = a.ID
	}
	records, err := s.ledger.Records(ctx, ids...)
	if err != nil {
		return nil, err
	}
	former, err := s.ledger.FormerLabels(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var out []*move
	for _, a := range labels {
		r, ok := records[a.ID]
		class := classes.Index(a.Label)
		switch {
		case !ok:
			report.Missing = append(report.Missing, a.ID)
		case r.State == ledger.Labelled:
			if err := s.outdated(ctx, a.Answer, r); err != nil {
				return nil, err
			}
			report.Already++
		case class < 0:
			report.Unknown = append(report.Unknown, UnknownLabel{a.ID, a.Label})
			s.o.Logger.WarnContext(ctx, "an answer is no class of the model; the task is left waiting", "id", a.ID, "label", a.Label)
		default:
			m := &move{answer: a, record: r, to: dg.SampleKey(class, a.ID)}
			for _, label := range former[a.ID] {
				if n := classes.Index(label); n >= 0 && n != class {
					m.former = append(m.former, dg.SampleKey(n, a.ID))
				}
			}
			out = append(out, m)
		}
	}
	return out, nil
}

// outdated drops the answer for a sample that others labelled meanwhile, and
// what is left of its task.
func (s *Service) outdated(ctx context.Context, a ledger.Answer, r ledger.Record) error {
	if a.Label != r.Label {
		s.o.Logger.WarnContext(ctx, "an answer comes after another label, which stands", "id", a.ID, "answer", a.Label, "label", r.Label)
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
	var stale, waiting, gone []string
	done := batch[:0:0]
	for _, m := range batch {
		switch {
		case m.gone:
			gone = append(gone, m.answer.ID)
			report.Missing = append(report.Missing, m.record.Key)
			s.o.Logger.ErrorContext(ctx, "an answered prediction's image is nowhere", "key", m.record.Key)
		case m.copied:
			if m.record.Key != m.to {
				stale = append(stale, m.record.Key)
			}
			stale = append(stale, m.former...)
			waiting = append(waiting, m.record.Key)
			done = append(done, m)
		}
	}
	errs = append(errs, s.ledger.Unmove(ctx, gone...))
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
		if err := s.ledger.Collected(ctx, m.answer.Answer); err != nil {
			errs = append(errs, err)
			continue
		}
		s.arrived(m, report)
	}
	return joinFew(errs)
}

// arrived reports a collected sample.
func (s *Service) arrived(m *move, report *CollectReport) {
	report.Collected++
	if m.answer.Label == m.record.PredictedClass {
		report.Correct++
	}
	if m.answer.disputed {
		report.Disputed++
	}
	if m.answer.tied {
		report.Tied = append(report.Tied, m.answer.ID)
		s.o.Logger.Warn("people could not agree; the label is what was named first", "id", m.answer.ID, "label", m.answer.Label, "people", m.answer.Votes.Of)
	}
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
	label := dg.Sample{LabelSource: m.answer.Source, Votes: m.answer.Votes, LabelledAt: m.answer.At}.Tags()
	tags[dg.TagLabelSource], tags[dg.TagLabelledAt] = label[dg.TagLabelSource], label[dg.TagLabelledAt]
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

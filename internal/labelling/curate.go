package labelling

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// CurateReport says what one run decided and copied.
type CurateReport struct {
	Interval   dg.Interval        `json:"interval"`
	Candidates int                `json:"candidates"` // predictions of the interval that were decided on
	Selected   map[dg.Stratum]int `json:"selected"`   // picked for people, late ones included
	Noisy      int                `json:"noisy"`      // not picked, late ones included
	Late       int                `json:"late"`       // decided on, though their interval was over
	LateFlags  int                `json:"late_flags"` // picked because of a flag or correction after their interval
	InWaiting  int                `json:"in_waiting"` // left alone: already in label-wait, put there by others
	Placed     int                `json:"placed"`     // copies made, those left over from a broken run included
	Missing    []string           `json:"missing,omitempty"`
}

// SelectedTotal sums Selected.
func (r CurateReport) SelectedTotal() int {
	n := 0
	for _, k := range r.Selected {
		n += k
	}
	return n
}

// Curate decides on every prediction of iv that no decision was made on, and
// copies the picked ones to label-wait, the others to noisy, with stratum and
// sampling fraction as tags. Decisions come first, in one ledger transaction,
// so a run that was cut off is completed by the next, with the same picks.
//
// With late, as the schedule runs it, it also takes up predictions from before
// iv that came in after their interval's run (a draw of their own, counted
// under the interval their timestamp lies in), and flags and corrections made
// since. Without, as a person runs it, it touches nothing outside iv.
//
// Missing lists decided keys that are gone from production; they are tried
// again by every run.
func (s *Service) Curate(ctx context.Context, iv dg.Interval, late bool) (CurateReport, error) {
	report := CurateReport{Interval: iv, Selected: map[dg.Stratum]int{}}
	if !iv.Start.Before(iv.End) {
		return report, fmt.Errorf("labelling: curate %s: want start before end: %w", iv, dg.ErrInvalid)
	}
	s.moving.Lock()
	defer s.moving.Unlock()
	if err := s.decide(ctx, iv, late, &report); err != nil {
		return report, fmt.Errorf("labelling: curate %s: %w", iv, err)
	}
	if err := s.place(ctx, &report); err != nil {
		return report, fmt.Errorf("labelling: curate %s: %w", iv, err)
	}
	return report, nil
}

// decide plans and records the decisions.
func (s *Service) decide(ctx context.Context, iv dg.Interval, late bool, report *CurateReport) error {
	var candidates []ledger.Record
	for r, err := range s.ledger.Uncurated(ctx, iv.End) {
		if err != nil {
			return err
		}
		if late || iv.Contains(r.Timestamp) {
			candidates = append(candidates, r)
		}
	}
	candidates, err := s.notWaiting(ctx, candidates, report)
	if err != nil {
		return err
	}
	within, before := arrivals(candidates, iv)
	report.Candidates, report.Late = len(within), len(candidates)-len(within)
	decisions := plan(within, iv.Start, s.o)
	for start, records := range before {
		decisions = append(decisions, plan(records, start, s.o)...)
	}
	if late {
		flagged, err := ledger.All(s.ledger.LateFlags(ctx, iv.End))
		if err != nil {
			return err
		}
		report.LateFlags = len(flagged)
		decisions = append(decisions, lateFlags(flagged)...)
	}
	if err := s.ledger.Decide(ctx, decisions); err != nil {
		return err
	}
	for _, d := range decisions {
		if d.Selected {
			report.Selected[d.Stratum]++
		} else {
			report.Noisy++
		}
	}
	return nil
}

// notWaiting leaves out candidates that lie in label-wait though the ledger
// knows of no decision: others put them there, and ask about them.
func (s *Service) notWaiting(ctx context.Context, candidates []ledger.Record, report *CurateReport) ([]ledger.Record, error) {
	if len(candidates) == 0 {
		return nil, nil
	}
	waiting := map[string]bool{}
	for o, err := range s.store.List(ctx, s.buckets.Waiting, "", false) {
		if err != nil {
			return nil, err
		}
		waiting[path.Base(o.Key)] = true
	}
	before := len(candidates)
	candidates = slices.DeleteFunc(candidates, func(r ledger.Record) bool { return waiting[r.ID()] })
	report.InWaiting = before - len(candidates)
	return candidates, nil
}

// placeBatch is how many copies are made before they are recorded: what a
// crash makes the next run repeat at most.
const placeBatch = 500

// place makes the copies that decisions ask for and records them. What fails
// is left for the next run and does not keep the rest from being placed.
func (s *Service) place(ctx context.Context, report *CurateReport) error {
	var (
		errs  []error
		batch []ledger.Record
	)
	place := func() {
		if err := s.placeSome(ctx, batch, report); err != nil {
			errs = append(errs, err)
		}
		batch = batch[:0]
	}
	for r, err := range s.ledger.Unplaced(ctx) {
		if err != nil {
			return joinFew(append(errs, err))
		}
		if batch = append(batch, r); len(batch) == placeBatch {
			place()
		}
	}
	if len(batch) > 0 {
		place()
	}
	return joinFew(errs)
}

func (s *Service) placeSome(ctx context.Context, records []ledger.Record, report *CurateReport) error {
	copied, gone := make([]bool, len(records)), make([]bool, len(records))
	errs := []error{each(ctx, s.o.Workers, records, func(ctx context.Context, i int, r ledger.Record) (err error) {
		gone[i], err = s.copyDecided(ctx, r)
		copied[i] = err == nil && !gone[i]
		return err
	})}
	var ids, stale []string
	for i, r := range records {
		if gone[i] {
			report.Missing = append(report.Missing, r.Key)
			s.o.Logger.WarnContext(ctx, "a decided prediction is gone from production", "key", r.Key)
		}
		if copied[i] {
			ids = append(ids, r.ID())
			if r.State == ledger.Waiting { // a late flag takes the sample out of noisy
				stale = append(stale, r.Key)
			}
		}
	}
	if len(stale) > 0 {
		if err := s.store.Delete(ctx, s.buckets.Noisy, stale...); err != nil {
			return joinFew(append(errs, err))
		}
	}
	if err := s.ledger.Placed(ctx, ids...); err != nil {
		return joinFew(append(errs, err))
	}
	report.Placed += len(ids)
	return joinFew(errs)
}

// copyDecided copies one sample to where its decision says, with the tags it
// has now, stratum and sampling fraction; gone says that production has it no
// more.
func (s *Service) copyDecided(ctx context.Context, r ledger.Record) (gone bool, err error) {
	tags, err := s.store.Tags(ctx, s.buckets.Production, r.Key)
	if errors.Is(err, dg.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	bucket := s.buckets.Noisy
	if r.State == ledger.Waiting {
		bucket = s.buckets.Waiting
	}
	return false, s.store.Copy(ctx, s.buckets.Production, r.Key, bucket, r.Key, withTags(tags, decisionTags(r)))
}

// decisionTags are the tags of r's decision; none if others decided.
func decisionTags(r ledger.Record) map[string]string {
	if r.Stratum == "" {
		return nil
	}
	return map[string]string{
		dg.TagStratum:          string(r.Stratum),
		dg.TagSamplingFraction: strconv.FormatFloat(r.SamplingFraction, 'g', -1, 64),
	}
}

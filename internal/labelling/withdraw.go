package labelling

import (
	"context"
	"fmt"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Withdraw takes a label back after it was collected: its object leaves the
// clean bucket, and at the next pass over the buckets the ledger follows, as it
// does when somebody removes the object by hand. From then on the label counts
// in no window, though what counters and closed slots have taken in stays, and
// people are asked about the sample again. The copy in noisy stays until then:
// it says, to a ledger that is built anew, that there was a label.
//
// The error is [driftgate.ErrNotFound] for an unknown sample,
// [driftgate.ErrInvalid] for one without a collected label (its answers are
// taken back by [Service.Undo]) or whose only image lies in clean, and
// [driftgate.ErrIncomplete] while no model is loaded.
func (s *Service) Withdraw(ctx context.Context, id string) error {
	s.moving.Lock()
	defer s.moving.Unlock()
	r, err := s.ledger.Record(ctx, id)
	if err != nil {
		return fmt.Errorf("labelling: withdraw: %w", err)
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("labelling: withdraw the label of %s: %w", id, fmt.Errorf(format, args...))
	}
	if r.State != ledger.Labelled {
		return fail("the sample is %s: want one whose label was collected: %w", r.State, dg.ErrInvalid)
	}
	if !r.InProduction {
		return fail("its only image lies in the clean bucket: remove it there, if it is to be forgotten: %w", dg.ErrInvalid)
	}
	classes := s.o.Classes()
	if classes == nil {
		return fail("no model is loaded, so no class list: %w", dg.ErrIncomplete)
	}
	class := classes.Index(r.Label)
	if class < 0 {
		return fail("its label %q is no class of the model: %w", r.Label, dg.ErrInvalid)
	}
	foreign := fmt.Sprintf("class_%03d/%s", class, id) // other writers may spell the directory so
	if err := s.store.Delete(ctx, s.buckets.Clean, dg.SampleKey(class, id), foreign); err != nil {
		return fail("%w", err)
	}
	s.o.Logger.InfoContext(ctx, "a label was withdrawn", "id", id, "label", r.Label)
	return nil
}

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	dg "driftgate"
	"driftgate/internal/experiment"
	"driftgate/internal/network"
)

// Made is an artifact as the registry lists it.
type Made struct {
	Ref      dg.ModelRef
	Manifest network.Manifest
}

// EnterModels enters the trainings that made the given artifacts, from their
// manifests: of models that were there before experiments were recorded, or
// whose ledger is new. What is on record stays as it is.
func (p *Pipelines) EnterModels(ctx context.Context, models []Made) error {
	if p.d.Experiments == nil {
		return nil
	}
	models = slices.Clone(models)
	slices.SortStableFunc(models, func(a, b Made) int { return a.Manifest.StartedAt.Compare(b.Manifest.StartedAt) }) // parents first
	for _, m := range models {
		_, err := p.d.Experiments.Made(ctx, m.Ref)
		if err == nil {
			continue
		}
		if !errors.Is(err, dg.ErrNotFound) {
			return fmt.Errorf("pipeline: enter models: %w", err)
		}
		id := cmp.Or(m.Manifest.RunID, "model-"+m.Ref.Short())
		if _, err := p.d.Experiments.Get(ctx, id); err == nil {
			id = "model-" + m.Ref.Short() // its run's record is of another model
		}
		r := ManifestRecord(id, m.Ref, m.Manifest)
		if r.StartedAt.IsZero() {
			r.StartedAt = m.Manifest.FinishedAt.UTC()
		}
		r.Parent = p.maker(ctx, m.Manifest.Parent)
		if r.StartedAt.IsZero() || r.Validate() != nil {
			p.log.WarnContext(ctx, "model has no experiment: its manifest does not say enough", "version", m.Ref.Short(), "error", r.Validate())
			continue
		}
		p.keep(ctx, r)
		p.keepTrials(ctx, r, m.Manifest.Search)
	}
	return nil
}

var _ Experiments = (*experiment.Store)(nil)

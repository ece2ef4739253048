package app

import (
	"context"

	"driftgate/internal/experiment"
	"driftgate/internal/pipeline"
)

// openExperiments brings the records up to date: it ends those whose process
// died, and, where there are none yet, enters the models that there are. The
// gateway serves without them, so a fault is logged and no more.
func (a *App) openExperiments(ctx context.Context) {
	if err := a.pipelines.EndExperiments(ctx, a.ledger.Run); err != nil {
		a.log.WarnContext(ctx, "experiments were not ended", "error", err)
	}
	page, err := a.experiments.List(ctx, experiment.Query{Limit: 1})
	if err == nil && len(page.Records) == 0 {
		err = a.enterModels(ctx)
	}
	if err != nil {
		a.log.WarnContext(ctx, "experiments of the models were not entered", "error", err)
	}
}

func (a *App) enterModels(ctx context.Context) error {
	entries, err := a.registry.Models(ctx)
	if err != nil {
		return err
	}
	var made []pipeline.Made
	for _, e := range entries {
		made = append(made, pipeline.Made{Ref: e.Ref, Manifest: e.Manifest})
	}
	return a.pipelines.EnterModels(ctx, made)
}

package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/registry"
)

// moves is the registry as people move it, over HTTP: every move is on record
// with its reason.
type moves struct {
	*registry.Registry
	app *App
}

// Promote makes ref the champion; see registry.Registry.
func (m moves) Promote(ctx context.Context, ref driftgate.ModelRef, seen driftgate.Champion, reason, runID string) (driftgate.Champion, error) {
	c, err := m.Registry.Promote(ctx, ref, seen, reason, runID)
	if err != nil {
		return c, err
	}
	m.record(ctx, ledger.EventPromotion, c.PromotedAt, c.Version, reason)
	return c, nil
}

// Rollback makes the champion before seen serve again; see registry.Registry.
func (m moves) Rollback(ctx context.Context, seen driftgate.Champion, reason string) (driftgate.Champion, error) {
	c, err := m.Registry.Rollback(ctx, seen, reason)
	if err != nil {
		return c, err
	}
	m.record(ctx, ledger.EventRollback, c.PromotedAt, c.Version, reason)
	return c, nil
}

// Try exposes a version beside the champion, past the rollout's stages: a
// person takes it on, until a person or harm ends it. What is exposed already
// is replaced.
func (m moves) Try(ctx context.Context, ref driftgate.ModelRef, stage driftgate.Stage, share float64, reason string) (driftgate.Exposure, error) {
	champion, err := m.Champion(ctx)
	if err != nil {
		return driftgate.Exposure{}, err
	}
	seen, err := m.seen(ctx)
	if err != nil {
		return driftgate.Exposure{}, err
	}
	next := driftgate.Exposure{Challenger: ref, Against: champion.Version, Stage: stage, Share: share, Step: driftgate.ByHand, Reason: reason}
	e, err := m.Expose(ctx, next, seen)
	if err != nil {
		return e, err
	}
	text := fmt.Sprintf("%s, %.3g%% of the traffic: %s", e.Stage, 100*e.Share, reason)
	m.record(ctx, ledger.EventExposure, m.app.Now().UTC(), e.Challenger, text) // not Since, whose seconds two moves may share
	return e, nil
}

// EndTrial ends what is exposed; the error is [driftgate.ErrRefused] when
// nothing is.
func (m moves) EndTrial(ctx context.Context, reason string) (driftgate.Exposure, error) {
	seen, err := m.seen(ctx)
	if err != nil {
		return seen, err
	}
	if seen.Challenger == "" {
		return seen, fmt.Errorf("nothing is exposed: %w", driftgate.ErrRefused)
	}
	e, err := m.Expose(ctx, driftgate.Exposure{Reason: reason, RunID: seen.RunID}, seen)
	if err != nil {
		return e, err
	}
	m.record(ctx, ledger.EventExposureEnd, m.app.Now().UTC(), seen.Challenger, reason)
	return e, nil
}

// Reject keeps a person's word that a version does not take over. Nothing that
// serves changes, so here the record is all there is, and its failure counts.
func (m moves) Reject(ctx context.Context, ref driftgate.ModelRef, reason string) error {
	return m.app.ledger.AddEvent(ctx, ledger.Event{At: m.app.Now().UTC(), Kind: ledger.EventRejection, Model: m.app.Config.Model,
		ModelVersion: ref.Short(), Text: reason, Who: ledger.ByPerson})
}

// seen is the exposure record of the moment; the zero one where there is none.
func (m moves) seen(ctx context.Context) (driftgate.Exposure, error) {
	e, err := m.Exposure(ctx)
	if errors.Is(err, driftgate.ErrNotFound) {
		return driftgate.Exposure{}, nil
	}
	return e, err
}

// record keeps who moved what. The move is done by then, so a ledger that does
// not take it is logged, not reported as a failure of the move.
func (m moves) record(ctx context.Context, kind string, at time.Time, subject driftgate.ModelRef, text string) {
	err := m.app.ledger.AddEvent(context.WithoutCancel(ctx), ledger.Event{At: at, Kind: kind, Model: m.app.Config.Model,
		ModelVersion: subject.Short(), Text: text, Who: ledger.ByPerson})
	if err != nil {
		m.app.log.Error("a move is not on record", "kind", kind, "version", subject.Short(), "reason", text, "error", err)
	}
}

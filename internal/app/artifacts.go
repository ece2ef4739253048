package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"driftgate"
	"driftgate/internal/config"
	"driftgate/internal/ledger"
	"driftgate/internal/registry"
)

// absoluteKeys makes the paths of key files independent of the working
// directory, which the embedded store changes.
func absoluteKeys(m *config.Models) (err error) {
	m.TrustedKeys = slices.Clone(m.TrustedKeys)
	for i := range m.TrustedKeys {
		if m.TrustedKeys[i], err = filepath.Abs(m.TrustedKeys[i]); err != nil {
			return fmt.Errorf("app: %w", err)
		}
	}
	if m.SigningKey != "" {
		if m.SigningKey, err = filepath.Abs(m.SigningKey); err != nil {
			return fmt.Errorf("app: %w", err)
		}
	}
	return nil
}

// openRegistry reads the keys and opens the models bucket's registry.
func (a *App) openRegistry() error {
	keys, err := registry.ReadKeys(a.Config.Models.SigningKey, a.Config.Models.TrustedKeys)
	if err != nil {
		return fmt.Errorf("app: models.signing_key, models.trusted_keys: %w", err)
	}
	a.registry = registry.New(a.store, a.buckets.Models, registry.Options{Model: a.Config.Model, Now: a.Now, Logger: a.Logger,
		Registerer: a.metricsRegistry, Keys: keys})
	return nil
}

// artifacts is the registry with a record of who brought models in, vouched for
// them and deleted them.
type artifacts struct {
	*registry.Registry
	app *App
	who string // who is on record; empty: driftgate itself
}

func (s artifacts) Retention() registry.Retention {
	c := s.app.Config.Models
	return registry.Retention{Keep: c.Keep, Younger: c.KeepFor, Generations: c.KeepGenerations}
}

func (s artifacts) Import(ctx context.Context, from io.Reader) (driftgate.ModelRef, error) {
	ref, err := s.Registry.Import(ctx, from)
	if err == nil {
		s.note(ctx, "import", ref, "imported from a file", ref)
	}
	return ref, err
}

func (s artifacts) Sign(ctx context.Context, ref driftgate.ModelRef) error {
	err := s.Registry.Sign(ctx, ref)
	if err == nil {
		s.note(ctx, "signature", ref, "signed with models.signing_key", ref)
	}
	return err
}

func (s artifacts) Prune(ctx context.Context, policy registry.Retention) ([]driftgate.ModelRef, error) {
	gone, err := s.Registry.Prune(ctx, policy)
	if len(gone) > 0 && !policy.DryRun {
		var names []string
		for _, ref := range gone {
			names = append(names, ref.Short())
		}
		s.note(ctx, "deletion", "", "deleted by retention: "+strings.Join(names, ", "), map[string]any{"deleted": gone,
			"keep": policy.Keep, "younger": policy.Younger.String(), "generations": policy.Generations})
	}
	return gone, err
}

// note keeps an event; what was done is done, so a ledger that is away is
// logged and no more.
func (s artifacts) note(ctx context.Context, kind string, ref driftgate.ModelRef, text string, evidence any) {
	b, err := json.Marshal(evidence)
	if err == nil {
		err = s.app.ledger.AddEvent(context.WithoutCancel(ctx), ledger.Event{At: s.app.Now().UTC(), Kind: kind, Model: s.app.Config.Model,
			ModelVersion: ref.Short(), Text: text, Who: s.who, Evidence: b})
	}
	if err != nil {
		s.app.log.Error("event not kept", "kind", kind, "version", ref.Short(), "text", text, "error", err)
	}
}

package app

import (
	"context"
	"sync"

	"driftgate"
	"driftgate/internal/catalog"
	"driftgate/internal/labelling"
)

// A rebuild reads all buckets into an emptied index, so nothing may move an
// object meanwhile: what moves them shares a lock that the rebuild holds alone.

type shared struct {
	*labelling.Service
	moving *sync.RWMutex
}

func (s shared) Curate(ctx context.Context, iv driftgate.Interval, late bool) (labelling.CurateReport, error) {
	s.moving.RLock()
	defer s.moving.RUnlock()
	return s.Service.Curate(ctx, iv, late)
}

func (s shared) Collect(ctx context.Context) (labelling.CollectReport, error) {
	s.moving.RLock()
	defer s.moving.RUnlock()
	return s.Service.Collect(ctx)
}

func (s shared) Withdraw(ctx context.Context, id string) error {
	s.moving.RLock()
	defer s.moving.RUnlock()
	return s.Service.Withdraw(ctx, id)
}

type sharedCatalog struct {
	*catalog.Catalog
	moving *sync.RWMutex
}

func (s sharedCatalog) Reconcile(ctx context.Context) (catalog.Report, error) {
	s.moving.RLock()
	defer s.moving.RUnlock()
	return s.Catalog.Reconcile(ctx)
}

func (a *App) rebuild(ctx context.Context) (any, error) {
	a.moving.Lock()
	defer a.moving.Unlock()
	report, err := a.catalog.Rebuild(ctx)
	if err != nil {
		return nil, err
	}
	return report, a.ledger.Settle(ctx)
}

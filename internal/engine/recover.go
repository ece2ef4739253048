package engine

import (
	"context"
	"fmt"
	"time"

	"driftgate/internal/ledger"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// sweepEvery is after how many finished runs old ones are deleted.
const sweepEvery = 200

// reconcile brings ledger and engine together after a start: a run that only
// the ledger has is begun, one that the engine gave up or lost fails in the
// ledger too.
func (e *Engine) reconcile(ctx context.Context) error {
	rows, err := e.ledger.UnfinishedRuns(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.State != ledger.RunRunning || e.funcs[row.Pipeline] == nil {
			continue
		}
		known, err := dbos.ListWorkflows(e.dbos, dbos.WithFilterWorkflowIDs(row.ID), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
		if err != nil {
			return err
		}
		if len(known) == 0 {
			if err := e.launch(row, ""); err != nil {
				return err
			}
			continue
		}
		if reason := givenUp(known[0]); reason != "" {
			end, err := e.ledger.FinishRun(ctx, ledger.Run{ID: row.ID, State: ledger.RunFailed, Error: reason, FinishedAt: e.o.Now()})
			if err != nil {
				return err
			}
			e.o.Finished(end, 0)
		}
	}
	return nil
}

// givenUp says why a run that the ledger has as running will not go on; "" when
// it will. A success with an unfinished row cannot be: the row is first.
func givenUp(w dbos.WorkflowStatus) string {
	switch w.Status {
	case dbos.WorkflowStatusMaxRecoveryAttemptsExceeded:
		return fmt.Sprintf("given up after %d starts, each of which ended with the process", w.Attempts)
	case dbos.WorkflowStatusError:
		return fmt.Sprintf("the engine could not keep its outcome: %v", w.Error)
	case dbos.WorkflowStatusCancelled, dbos.WorkflowStatusSuccess:
		return "ended in the engine without an outcome: " + string(w.Status)
	}
	return ""
}

// forget deletes the engine's own record of a finished run, once it is final:
// that comes an instant after the ledger's row.
func (e *Engine) forget(ctx context.Context, id string) error {
	for {
		known, err := dbos.ListWorkflows(e.dbos, dbos.WithFilterWorkflowIDs(id), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
		if err != nil || len(known) == 0 {
			return err
		}
		if known[0].Status != dbos.WorkflowStatusPending {
			return dbos.DeleteWorkflows(e.dbos, []string{id})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// sweepSometimes deletes old finished runs now and then, beside the work.
func (e *Engine) sweepSometimes() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finished++
	if e.finished < sweepEvery || e.closing || e.sweepDone != nil {
		return
	}
	e.finished = 0
	done := make(chan struct{})
	e.sweepDone = done
	go func() {
		defer func() {
			e.mu.Lock()
			e.sweepDone = nil
			e.mu.Unlock()
			close(done)
		}()
		if err := e.sweep(); err != nil {
			e.log.Warn("old runs could not be deleted", "error", err)
		}
	}()
}

// sweep deletes what is finished and beyond what is kept, in the engine's file
// and in the ledger. The ledger's row of a run outlives the engine's, so an id
// that was swept still does not run again.
func (e *Engine) sweep() error {
	for {
		old, err := dbos.ListWorkflows(e.dbos,
			dbos.WithFilterStatus(dbos.WorkflowStatusSuccess, dbos.WorkflowStatusError, dbos.WorkflowStatusCancelled, dbos.WorkflowStatusMaxRecoveryAttemptsExceeded),
			dbos.WithFilterSortDesc(), dbos.WithFilterOffset(e.o.Keep), dbos.WithFilterLimit(sweepEvery),
			dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
		if err != nil {
			return err
		}
		if len(old) == 0 {
			break
		}
		ids := make([]string, len(old))
		for i, w := range old {
			ids[i] = w.ID
		}
		if err := dbos.DeleteWorkflows(e.dbos, ids); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.dbos), time.Minute)
	defer cancel()
	return e.ledger.PruneRuns(ctx, e.o.KeepLedger)
}

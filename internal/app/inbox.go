package app

import (
	"context"
	"fmt"
	"time"

	"driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/trigger"
	"driftgate/metrics"
)

// inbox tells the scheduler at once of what was accepted.
type inbox struct {
	*trigger.Inbox
	wake func()
}

// Submit records a trigger and, when it is accepted, has its run started.
func (i *inbox) Submit(ctx context.Context, t driftgate.Trigger) (ledger.TriggerRecord, error) {
	r, err := i.Inbox.Submit(ctx, t)
	if err == nil && r.Decision == driftgate.Accepted {
		i.wake()
	}
	return r, err
}

// alarmKey names an alarm of one champion: the resolution of a firing carries
// the same key, so that it closes that cause.
func alarmKey(e metrics.AlarmEvent) string {
	return "alarm/" + e.ModelVersion + "/" + e.Since.UTC().Format(time.RFC3339)
}

func alarmReason(e metrics.AlarmEvent) string {
	return fmt.Sprintf("drift alarm %s for version %s: the error rose around %s (evidence %.3g years)",
		e.State, e.ModelVersion, e.Since.UTC().Format(time.RFC3339), e.Evidence)
}

package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"driftgate/internal/app"
	"driftgate/internal/ledger"
	"driftgate/internal/pipeline"
)

// Where the demo's clock waits for the machine, and where it goes on.
const (
	paceEvery  = 150 * time.Millisecond
	maxWaiting = 50  // label tasks nobody has answered; as many answers nobody has collected are collected at once
	maxSpool   = 200 // predictions not in S3 yet
	maxLag     = 1   // curate intervals that are over and not worked off
)

// pace holds the clock while the gateway is behind, so that a slow or busy
// machine tells the same story in more time, instead of one in which labels
// come days late.
func (s *story) pace(ctx context.Context) error {
	held := false
	for {
		behind, err := s.behind(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = nil // told to end
			}
			return err
		}
		if behind != held {
			held = behind
			if s.clock.Run(speed); held {
				s.clock.Run(0)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(paceEvery):
		}
	}
}

func (s *story) behind(ctx context.Context) (bool, error) {
	st, err := s.status(ctx)
	if err != nil {
		return false, fmt.Errorf("demo: status: %w", err)
	}
	due, err := curatedUntil(ctx, s.client)
	if err != nil {
		return false, err
	}
	if due.IsZero() {
		due = s.opened
	}
	if st.Labels.Answered > maxWaiting {
		// The schedule that collects them goes by the clock that would be held for
		// them: waiting would last for ever.
		if err := s.client.Post(ctx, "/api/v1/collect", nil, nil); err != nil {
			return false, fmt.Errorf("demo: collect: %w", err)
		}
	}
	lag := s.clock.Now().Sub(due)
	return lag > (maxLag+1)*s.conf.Curate.Every || st.Labels.Waiting > maxWaiting || st.Spool.Items > maxSpool, nil
}

// curatedUntil is the time up to which predictions have been picked from, by the
// gateway's clock; zero before the first curate run.
func curatedUntil(ctx context.Context, client *app.Client) (time.Time, error) {
	var list struct{ Runs []ledger.Run }
	if err := client.Get(ctx, "/api/v1/runs?pipeline=curate&limit=1", &list); err != nil {
		return time.Time{}, fmt.Errorf("demo: runs: %w", err)
	}
	if len(list.Runs) == 0 {
		return time.Time{}, nil
	}
	var in pipeline.CurateInput
	if err := json.Unmarshal(list.Runs[0].Input, &in); err != nil {
		return time.Time{}, fmt.Errorf("demo: run %s: %w", list.Runs[0].ID, err)
	}
	if list.Runs[0].Finished() {
		return in.Interval.End, nil
	}
	return in.Interval.Start, nil
}

package estimate

import (
	"errors"
	"fmt"
	"time"

	dg "driftgate"
)

// AlarmState is where the drift alarm stands.
type AlarmState string

// The alarm's states. Resolved is passed through, never stayed in: it names the
// step from Firing back to Quiet when the evidence did not come again.
const (
	Quiet    AlarmState = "quiet"
	Pending  AlarmState = "pending"
	Firing   AlarmState = "firing"
	Resolved AlarmState = "resolved"
)

// Gauge is the state as `accuracy_alarm_state` exports it: 0 quiet, 1 pending,
// 2 firing.
func (s AlarmState) Gauge() float64 {
	switch s {
	case Pending:
		return 1
	case Firing:
		return 2
	}
	return 0
}

// AlarmOptions are the alarm's hold times, in event time.
type AlarmOptions struct {
	Hold        time.Duration // how long evidence must stay above the threshold before the alarm fires; 0: at once
	ResolveHold time.Duration // how long after the last crossing a firing alarm resolves by itself; 0: only a promotion ends it
}

// Validate reports every fault; the error is [dg.ErrInvalid].
func (o AlarmOptions) Validate() error {
	var errs []error
	if o.Hold < 0 {
		errs = append(errs, fmt.Errorf("alarm hold %s: want 0s or more: %w", o.Hold, dg.ErrInvalid))
	}
	if o.ResolveHold < 0 {
		errs = append(errs, fmt.Errorf("alarm resolve_hold %s: want 0s or more: %w", o.ResolveHold, dg.ErrInvalid))
	}
	return errors.Join(errs...)
}

// Alarm is the state machine between two slots. The zero value is quiet;
// assigning it is the reset after a promotion.
type Alarm struct {
	State     AlarmState `json:"state,omitempty"`     // empty is quiet
	Since     time.Time  `json:"since,omitzero"`      // when State was entered
	CrossedAt time.Time  `json:"crossed_at,omitzero"` // end of the last slot that crossed
	Onset     time.Time  `json:"onset,omitzero"`      // when the drift behind a pending or firing alarm seems to have begun
	Evidence  float64    `json:"evidence,omitempty"`  // in years, at the crossing that counts
}

// NextAlarm moves the alarm by one closed slot that ended at `at`. It returns
// the states entered, in order (none, or up to two: pending and firing), and
// whether the caller must reset the detector to its zero State now.
//
// A crossing makes the alarm pending; it fires once it has been crossed for
// Hold without a break (with Hold 0 in the same slot), and falls back to quiet
// when the evidence sinks before that. The detector is reset when the alarm
// fires and at each later crossing, so that each is fresh evidence. A firing
// alarm ends by promotion (the caller's zero Alarm), or resolves when
// ResolveHold has passed since the last crossing.
func NextAlarm(a Alarm, at time.Time, r SlotResult, o AlarmOptions) (next Alarm, entered []AlarmState, reset bool) {
	if a.State == "" {
		a.State = Quiet
	}
	if a.State == Firing {
		switch {
		case r.Crossed:
			a.CrossedAt, a.Evidence, reset = at, r.Evidence, true
		case o.ResolveHold > 0 && at.Sub(a.CrossedAt) >= o.ResolveHold:
			return Alarm{State: Quiet, Since: at}, []AlarmState{Resolved}, false
		}
		return a, nil, reset
	}
	if !r.Crossed {
		if a.State == Pending {
			return Alarm{State: Quiet, Since: at}, []AlarmState{Quiet}, false
		}
		return a, nil, false
	}
	if a.State != Pending {
		a = Alarm{State: Pending, Since: at}
		entered = append(entered, Pending)
	}
	a.CrossedAt, a.Onset, a.Evidence = at, r.Onset, r.Evidence
	if at.Sub(a.Since) >= o.Hold {
		a.State, a.Since, reset = Firing, at, true
		entered = append(entered, Firing)
	}
	return a, entered, reset
}

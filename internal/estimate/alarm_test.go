package estimate

import (
	"errors"
	"slices"
	"testing"
	"time"

	dg "driftgate"
)

func TestNextAlarm(t *testing.T) {
	type step struct {
		hour    int
		crossed bool
		entered []AlarmState
		state   AlarmState
		reset   bool
	}
	for _, tt := range []struct {
		name  string
		o     AlarmOptions
		steps []step
	}{
		{"quiet stays quiet", AlarmOptions{}, []step{{1, false, nil, Quiet, false}, {2, false, nil, Quiet, false}}},
		{"without hold it fires at once and resets", AlarmOptions{}, []step{
			{1, true, []AlarmState{Pending, Firing}, Firing, true}, {2, false, nil, Firing, false}}},
		{"without resolve hold only a promotion ends it", AlarmOptions{}, []step{
			{1, true, []AlarmState{Pending, Firing}, Firing, true}, {10000, false, nil, Firing, false}}},
		{"with hold it waits", AlarmOptions{Hold: 2 * time.Hour}, []step{
			{1, true, []AlarmState{Pending}, Pending, false}, {2, true, nil, Pending, false}, {3, true, []AlarmState{Firing}, Firing, true}}},
		{"a break in the hold starts it anew", AlarmOptions{Hold: 2 * time.Hour}, []step{
			{1, true, []AlarmState{Pending}, Pending, false}, {2, false, []AlarmState{Quiet}, Quiet, false},
			{3, true, []AlarmState{Pending}, Pending, false}, {4, true, nil, Pending, false}, {5, true, []AlarmState{Firing}, Firing, true}}},
		{"it resolves when the evidence does not come again", AlarmOptions{ResolveHold: 24 * time.Hour}, []step{
			{1, true, []AlarmState{Pending, Firing}, Firing, true}, {24, false, nil, Firing, false}, {25, false, []AlarmState{Resolved}, Quiet, false},
			{26, false, nil, Quiet, false}}},
		{"fresh evidence keeps it firing and resets again", AlarmOptions{ResolveHold: 24 * time.Hour}, []step{
			{1, true, []AlarmState{Pending, Firing}, Firing, true}, {20, true, nil, Firing, true}, {30, false, nil, Firing, false}, {44, false, []AlarmState{Resolved}, Quiet, false}}},
		{"after resolving it can fire again", AlarmOptions{ResolveHold: time.Hour}, []step{
			{1, true, []AlarmState{Pending, Firing}, Firing, true}, {2, false, []AlarmState{Resolved}, Quiet, false}, {3, true, []AlarmState{Pending, Firing}, Firing, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Alarm
			onset := newYear.Add(-time.Hour)
			for _, s := range tt.steps {
				at := newYear.Add(time.Duration(s.hour) * time.Hour)
				var entered []AlarmState
				var reset bool
				a, entered, reset = NextAlarm(a, at, SlotResult{Crossed: s.crossed, Evidence: 12, Onset: onset}, tt.o)
				if a.State != s.state || reset != s.reset || !slices.Equal(entered, s.entered) {
					t.Fatalf("hour %d: %s, entered %v, reset %v: want %s, %v, %v", s.hour, a.State, entered, reset, s.state, s.entered, s.reset)
				}
				if (a.State == Firing || a.State == Pending) && (!a.Onset.Equal(onset) || a.Evidence != 12) {
					t.Fatalf("hour %d: %+v has lost its onset or evidence", s.hour, a)
				}
			}
		})
	}
}

func TestAlarmGauge(t *testing.T) {
	for state, want := range map[AlarmState]float64{"": 0, Quiet: 0, Resolved: 0, Pending: 1, Firing: 2} {
		if got := state.Gauge(); got != want {
			t.Errorf("%q is %g, want %g", state, got, want)
		}
	}
}

func TestAlarmOptionsReportEveryFault(t *testing.T) {
	err := AlarmOptions{Hold: -1, ResolveHold: -1}.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
	if err := (AlarmOptions{Hold: time.Hour}).Validate(); err != nil {
		t.Error(err)
	}
}

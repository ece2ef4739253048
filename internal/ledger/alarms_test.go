package ledger

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	dg "driftgate"
)

func TestASlotClosesOnceAndWithItsEvents(t *testing.T) {
	ctx, l := t.Context(), open(t)
	if _, err := l.Alarm(ctx, "m"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("Alarm before any = %v", err)
	}
	start := func(version string, at time.Time, events ...Event) {
		t.Helper()
		must(t, l.StartAlarm(ctx, Alarm{Model: "m", ModelVersion: version, Started: at, ClosedUntil: at, Memory: json.RawMessage(`{}`)}, events...))
	}
	slot := func(version string, started time.Time, hour int) AlarmSlot {
		from := t0.Add(time.Duration(hour) * time.Hour)
		return AlarmSlot{Model: "m", ModelVersion: version, Started: started, Slot: dg.Interval{Start: from, End: from.Add(time.Hour)},
			ClosedAt: from.Add(2 * time.Hour), Inputs: json.RawMessage(`{"a":1}`), Outcome: json.RawMessage(`{}`), Memory: json.RawMessage(`{"slots":1}`)}
	}
	start("v1", t0)
	fired := Event{At: t0.Add(time.Hour), Kind: "alarm_firing", Model: "m", ModelVersion: "v1", Text: "why", Who: "rollout", Evidence: json.RawMessage(`{"worse": 40}`)}
	must(t, l.CloseSlot(ctx, slot("v1", t0, 1), fired))
	for name, s := range map[string]AlarmSlot{
		"the same again":       slot("v1", t0, 1),
		"one before it":        slot("v1", t0, 0),
		"another version":      slot("v2", t0, 2),
		"the same, other term": slot("v1", t0.Add(time.Second), 2),
	} {
		if err := l.CloseSlot(ctx, s, Event{At: t0, Kind: "wrong"}); !errors.Is(err, dg.ErrConflict) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
	must(t, l.AddEvent(ctx, fired))
	day := dg.Interval{Start: t0, End: t0.Add(24 * time.Hour)}
	if got := get[[]Event](t)(l.Events(ctx, day)); !reflect.DeepEqual(got, []Event{fired}) {
		t.Errorf("events %v, want the one, once", got)
	}
	a := get[Alarm](t)(l.Alarm(ctx, "m"))
	if !a.ClosedUntil.Equal(t0.Add(2*time.Hour)) || string(a.Memory) != `{"slots":1}` || a.ModelVersion != "v1" {
		t.Errorf("alarm = %+v", a)
	}
	start("v2", t0.Add(5*time.Hour))
	must(t, l.CloseSlot(ctx, slot("v2", t0.Add(5*time.Hour), 6)))
	got := get[[]AlarmSlot](t)(All(l.AlarmSlots(ctx, "m", dg.Interval{})))
	if len(got) != 2 || got[0].ModelVersion != "v1" || got[1].ModelVersion != "v2" || string(got[0].Inputs) != `{"a":1}` || !got[0].Started.Equal(t0) {
		t.Errorf("slots = %+v", got)
	}
	end := got[1].Slot.End
	if got := get[[]AlarmSlot](t)(All(l.AlarmSlots(ctx, "m", dg.Interval{Start: end, End: end.Add(1)}))); len(got) != 1 || got[0].ModelVersion != "v2" {
		t.Errorf("the slot that ends at %s = %+v", end, got)
	}
}

func TestNextPrediction(t *testing.T) {
	ctx, l := t.Context(), open(t)
	must(t, l.Captured(ctx, sample("a", t0, .5), sample("b", t0.Add(time.Hour), .5)))
	at, ok, err := l.NextPrediction(ctx, "v1", dg.Interval{Start: t0.Add(1), End: t0.Add(2 * time.Hour)})
	if err != nil || !ok || !at.Equal(t0.Add(time.Hour)) {
		t.Errorf("next = %s %t %v", at, ok, err)
	}
	if _, ok, err := l.NextPrediction(ctx, "v1", dg.Interval{Start: t0.Add(1), End: t0.Add(time.Hour)}); ok || err != nil {
		t.Errorf("none before the end: %t %v", ok, err)
	}
}

package ledger

import (
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	dg "driftgate"
)

func TestAWatchKeepsEachSlotOnce(t *testing.T) {
	ctx, l := t.Context(), open(t)
	w := Watch{Model: "m", Subject: "sha256:aa", Against: "sha256:bb", Began: t0}
	slot := func(hour int, differences ...float64) WatchSlot {
		from := t0.Add(time.Duration(hour) * time.Hour)
		return WatchSlot{Slot: dg.Interval{Start: from, End: from.Add(time.Hour)}, ClosedAt: from.Add(3 * time.Hour), Pairs: 10 * len(differences), Differences: differences}
	}
	second, first := slot(1, .1, -1, 1), slot(0)
	must(t, l.CloseWatchSlot(ctx, w, first, Event{At: t0, Kind: "rollback", Model: "m", Who: "rollout"}))
	must(t, l.CloseWatchSlot(ctx, w, second))
	joined := slot(0, .9)
	joined.Slot.End = joined.Slot.End.Add(2 * time.Hour)
	for name, again := range map[string]WatchSlot{"late labels": slot(1, .9), "before": slot(0, .9), "over all of it": joined} {
		if err := l.CloseWatchSlot(ctx, w, again, Event{At: t0, Kind: "wrong"}); !errors.Is(err, dg.ErrConflict) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}

	if got := get[[]WatchSlot](t)(l.WatchSlots(ctx, w)); !reflect.DeepEqual(got, []WatchSlot{first, second}) {
		t.Errorf("slots %+v", got)
	}
	if events := get[[]Event](t)(l.Events(ctx, dg.Interval{Start: t0, End: t0.Add(time.Second)})); len(events) != 1 || events[0].Who != "rollout" {
		t.Errorf("events %+v, want the rollback", events)
	}
	must(t, l.AddEvent(ctx, Event{At: t0.Add(time.Hour), Kind: "alarm_firing", Model: "m"}))
	must(t, l.AddEvent(ctx, Event{At: t0.Add(2 * time.Hour), Kind: EventPromotion, Model: "m"}))
	if moves := get[[]Event](t)(l.Moves(ctx, 10)); len(moves) != 2 || moves[0].Kind != EventPromotion || moves[1].Kind != EventRollback {
		t.Errorf("moves %+v, want the promotion, then the rollback", moves)
	}
	if moves := get[[]Event](t)(l.Moves(ctx, 1)); len(moves) != 1 || moves[0].Kind != EventPromotion {
		t.Errorf("the newest move is %+v", moves)
	}
	for name, other := range map[string]Watch{
		"another subject": {"m", "sha256:cc", w.Against, w.Began}, "another opponent": {"m", w.Subject, "sha256:cc", w.Began},
		"another model": {"n", w.Subject, w.Against, w.Began}, "begun later": {"m", w.Subject, w.Against, t0.Add(time.Second)},
	} {
		if got := get[[]WatchSlot](t)(l.WatchSlots(ctx, other)); len(got) != 0 {
			t.Errorf("%s: has %+v", name, got)
		}
	}
	for name, bad := range map[string]WatchSlot{"not a number": slot(2, math.NaN()), "beyond 2": slot(2, 2.01), "no time": {}} {
		if err := l.CloseWatchSlot(ctx, w, bad); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if err := l.CloseWatchSlot(ctx, Watch{Model: "m", Began: t0}, first); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("a watch on nothing: %v, want invalid", err)
	}
}

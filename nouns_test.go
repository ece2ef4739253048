package driftgate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
)

func TestSplitGivesExactlyLengthOverStepIntervals(t *testing.T) {
	start := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)
	iv := Interval{start, start.Add(24 * time.Hour)}
	parts, err := iv.Split(30 * time.Minute)
	if err != nil || len(parts) != 48 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	for i, p := range parts {
		if p != Slot(p.Start, 30*time.Minute) || (i > 0 && p.Start != parts[i-1].End) {
			t.Fatalf("part %d is %s", i, p)
		}
	}
	if iv.Contains(iv.End) || !iv.Contains(iv.Start) {
		t.Error("an interval is half-open")
	}
	if _, err := (Interval{start.Add(time.Second), iv.End}).Split(time.Hour); !errors.Is(err, ErrInvalid) {
		t.Errorf("unaligned: %v", err)
	}
}

func TestSlotBeforeTheEpoch(t *testing.T) {
	iv := Slot(time.Unix(-1, 0), time.Hour)
	if !iv.Contains(time.Unix(-1, 0)) || iv.End.Unix() != 0 {
		t.Errorf("got %s", iv)
	}
}

func TestIntervalRoundTrip(t *testing.T) {
	iv := Slot(time.Date(2026, 11, 22, 4, 3, 0, 0, time.UTC), time.Hour)
	if got, err := ParseInterval(iv.String()); err != nil || got != iv {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "/", "2026-01-02T00:00:00Z", iv.End.Format(time.RFC3339) + "/" + iv.Start.Format(time.RFC3339)} {
		if _, err := ParseInterval(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestVerdictsAreWordsAndTheZeroNeverPromotes(t *testing.T) {
	if (Comparison{}).Verdict != Inconclusive {
		t.Error("the zero verdict must be inconclusive")
	}
	for _, v := range Verdicts {
		b, err := json.Marshal(v)
		var back Verdict
		if err != nil || json.Unmarshal(b, &back) != nil || back != v {
			t.Errorf("%v: %s, %v, back %v", v, b, err, back)
		}
	}
	var v Verdict
	if err := v.UnmarshalText([]byte("maybe")); !errors.Is(err, ErrInvalid) {
		t.Errorf("maybe: %v", err)
	}
}

func TestHeldIsAStableShareOfTheIDs(t *testing.T) {
	const n = 20000
	held := 0
	for i := range n {
		id := fmt.Sprintf("%08x.png", i)
		if Held(id, 0.3) {
			held++
			if !Held(id, 0.4) {
				t.Fatal("a larger fraction must hold what a smaller one holds")
			}
		}
	}
	if share := float64(held) / n; math.Abs(share-0.3) > 0.015 {
		t.Errorf("held %.3f of the ids, want 0.3", share)
	}
	if Held("x", 0) || !Held("x", 1) {
		t.Error("0 holds none, 1 holds all")
	}
	// Pinned: a change would leak old holdouts into training sets.
	if !Held("a", 0.476) || Held("a", 0.475) {
		t.Errorf("the hash of %q moved", "a")
	}
}

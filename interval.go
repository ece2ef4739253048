package driftgate

import (
	"fmt"
	"strings"
	"time"
)

// Interval is a half-open span of event time [Start, End), UTC: what one
// pipeline pass owns.
type Interval struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Contains reports whether t lies in [Start, End).
func (iv Interval) Contains(t time.Time) bool { return !t.Before(iv.Start) && t.Before(iv.End) }

// Length is End - Start.
func (iv Interval) Length() time.Duration { return iv.End.Sub(iv.Start) }

// String renders START/END in RFC 3339, the form that [ParseInterval] reads.
func (iv Interval) String() string {
	return iv.Start.UTC().Format(time.RFC3339) + "/" + iv.End.UTC().Format(time.RFC3339)
}

// ParseInterval reads START/END in RFC 3339 and demands START < END; the error
// is [ErrInvalid].
func ParseInterval(s string) (Interval, error) {
	a, b, _ := strings.Cut(s, "/")
	start, err1 := time.Parse(time.RFC3339, a)
	end, err2 := time.Parse(time.RFC3339, b)
	if err1 != nil || err2 != nil || !start.Before(end) {
		return Interval{}, fmt.Errorf("interval %q: want START/END in RFC 3339 with START before END: %w", s, ErrInvalid)
	}
	return Interval{start.UTC(), end.UTC()}, nil
}

// Slot returns the interval of length step that contains t, aligned to the
// Unix epoch.
func Slot(t time.Time, step time.Duration) Interval {
	ns := t.UnixNano()
	r := ns % int64(step)
	if r < 0 {
		r += int64(step)
	}
	start := time.Unix(0, ns-r).UTC()
	return Interval{start, start.Add(step)}
}

// Split cuts iv into exactly Length/step intervals of length step, in order.
// iv must be aligned to step; the error is [ErrInvalid].
func (iv Interval) Split(step time.Duration) ([]Interval, error) {
	if step <= 0 || !Slot(iv.Start, step).Start.Equal(iv.Start) || iv.Length()%step != 0 || iv.Length() < 0 {
		return nil, fmt.Errorf("interval %s: want start and end on multiples of %s: %w", iv, step, ErrInvalid)
	}
	var out []Interval
	for t := iv.Start; t.Before(iv.End); t = t.Add(step) {
		out = append(out, Interval{t, t.Add(step)})
	}
	return out, nil
}

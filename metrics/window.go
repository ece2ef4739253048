package metrics

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// WindowName is a span as labels and pages show it: 30m, 1h, 24h, 7d.
func WindowName(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d > day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}

// ParseWindow reads what [WindowName] writes, and every Go duration; the error
// is [driftgate.ErrInvalid].
func ParseWindow(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days > 0 && days <= 36500 {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("window %q: want a span such as 30m, 24h or 7d: %w", s, dg.ErrInvalid)
}

// ceil is the first multiple of step at or after t: the end of the newest
// window that t touches.
func ceil(t time.Time, step time.Duration) time.Time {
	slot := dg.Slot(t, step)
	if slot.Start.Equal(t) {
		return slot.Start
	}
	return slot.End
}

// Accuracy is the state of one window [end-window, end) of the champion's
// predictions, end being the first multiple of the stride at or after at.
// Without a champion it counts every version.
func (m *Metrics) Accuracy(ctx context.Context, window time.Duration, at time.Time) (dg.Accuracy, error) {
	return m.AccuracyOf(ctx, m.serving().Version.Short(), window, at)
}

// AccuracyOf is [Metrics.Accuracy] for one version, by its short name, or for
// all of them together when version is empty. A gap, and the calibration's part
// in the bounds of `expected`, are known of the champion only.
func (m *Metrics) AccuracyOf(ctx context.Context, version string, window time.Duration, at time.Time) (dg.Accuracy, error) {
	if m.invalid != nil {
		return dg.Accuracy{}, m.invalid
	}
	if window <= 0 {
		return dg.Accuracy{}, fmt.Errorf("metrics: accuracy: window %s: want over 0s: %w", window, dg.ErrInvalid)
	}
	reference, err := m.reference(ctx, version)
	if err != nil {
		return dg.Accuracy{}, fmt.Errorf("metrics: accuracy: %w", err)
	}
	in, err := m.read(ctx, version, reference, ceil(at, m.o.Stride), window)
	if err != nil {
		return dg.Accuracy{}, fmt.Errorf("metrics: accuracy: %w", err)
	}
	return in[0].figures(), nil
}

// read gathers the inputs of windows that end together, as they are at one
// moment.
func (m *Metrics) read(ctx context.Context, version string, reference estimate.Rectifier, end time.Time, windows ...time.Duration) ([]windowInputs, error) {
	spans := make([]dg.Interval, len(windows))
	for i, w := range windows {
		spans[i] = dg.Interval{Start: end.Add(-w), End: end}
	}
	found, err := m.ledger.Windows(ctx, version, spans...)
	if err != nil {
		return nil, err
	}
	in := make([]windowInputs, len(windows))
	for i, f := range found {
		in[i] = windowInputs{Version: version, Start: spans[i].Start, End: end, MinLabels: m.o.MinLabels, Reference: reference}
		in[i].setTallies(f.Tallies, f.Earlier)
		in[i].setSlices(f.Slices)
	}
	return in, nil
}

// Package metrics turns human labels into figures an operator can trust:
// production accuracy over sliding windows, by four estimators, whole and by
// class and confidence, with bounds, counts and the age of the newest label;
// how far it has parted from what the model believes of itself; the drift alarm
// that watches it; and how far the inputs have moved, which needs no label.
//
// Each stratum counts by its share of the predictions, so images picked because
// they are hard do not drag the figure down. A window with fewer than MinLabels
// labels exports no measured ratio: a gap is honest, a frozen gauge is not.
// Figures and alarm count the present champion's predictions only. What was
// published is kept with all that it was computed from, and [Metrics.Replay]
// computes it again to the last digit.
//
// Everything is read from one [Snapshot], which Refresh computes: the
// Prometheus collector, the pages and the StatsD sink cannot disagree. Ratios
// run 0 to 1. Components keep their own operational metrics and never import
// this package.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// Options configure figures and alarm. Fields left zero take the default given
// beside them.
type Options struct {
	Model     string          // the model's name, the value of the label `model`; required
	Windows   []time.Duration // spans of event time, distinct, over 0s; 30m, 1h, 6h, 24h, 7d
	MinLabels int             // below this no ratio is exported; 30
	Stride    time.Duration   // windows end on multiples of it; 1m
	Alarm     AlarmOptions
	Drift     DriftOptions

	RecordEvery time.Duration // how often the windows are kept as published, for [Metrics.Replay]; 30m, below 0 never
	Keep        time.Duration // how long they are kept; 90 days

	MaxAge time.Duration    // of a snapshot, by the wall's clock, beyond which its figures are exported no more; 1m
	Now    func() time.Time // time.Now
	Logger *slog.Logger
}

// DefaultWindows are the spans shown when nothing else is configured.
var DefaultWindows = []time.Duration{30 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

func (o Options) withDefaults() Options {
	if o.Windows == nil {
		o.Windows = DefaultWindows
	}
	o.Windows = slices.Clone(o.Windows)
	setDefault(&o.MinLabels, 30)
	setDefault(&o.Stride, time.Minute)
	setDefault(&o.MaxAge, time.Minute)
	setDefault(&o.RecordEvery, 30*time.Minute)
	setDefault(&o.Keep, 90*24*time.Hour)
	o.Alarm = o.Alarm.withDefaults()
	o.Drift = o.Drift.withDefaults()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("component", "metrics")
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports every fault at once; the error is [driftgate.ErrInvalid].
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format+": %w", append(args, dg.ErrInvalid)...))
	}
	if o.Model == "" {
		bad("model: want a name")
	}
	if len(o.Windows) == 0 || len(o.Windows) > maxWindows {
		bad("windows: %d of them, want 1 to %d", len(o.Windows), maxWindows)
	}
	for i, w := range o.Windows {
		if w <= 0 || slices.Contains(o.Windows[:i], w) {
			bad("window %s: want over 0s, and each once", w)
		}
	}
	if o.MinLabels < 1 {
		bad("min_labels %d: want at least 1", o.MinLabels)
	}
	if o.Stride <= 0 {
		bad("stride %s: want over 0s", o.Stride)
	}
	if o.Keep <= 0 {
		bad("keep %s: want over 0s", o.Keep)
	}
	return errors.Join(append(errs, o.Alarm.Validate(), o.Drift.Validate())...)
}

const maxWindows = 32

// Metrics computes snapshots and moves the alarm. It is safe for concurrent
// use, and a prometheus.Collector.
type Metrics struct {
	o       Options
	invalid error
	ledger  *ledger.Ledger

	mu       sync.Mutex // guards champion
	champion serving

	refresh  sync.Mutex // one Refresh at a time, so that no older snapshot comes last; guards drift and recorded
	latest   atomic.Pointer[Snapshot]
	drift    *driftMemory
	recorded map[time.Duration]time.Time // per window: the slot that was kept last

	current current // guarded by refresh too

	refreshed atomic.Int64 // when latest was made by the wall's clock, Unix nanoseconds; Options.Now may run at another speed

	advance   sync.Mutex // one Advance at a time
	announced bool       // the last event was handed out by this process
}

// serving is what metrics know of the present champion.
type serving struct {
	dg.Champion
	classes dg.Classes
}

// New returns the metrics of one model. Faults in o are reported by every call
// that would use it; see [Options.Validate].
func New(o Options, l *ledger.Ledger) *Metrics {
	m := &Metrics{o: o.withDefaults(), invalid: o.Validate(), ledger: l}
	if m.invalid != nil {
		m.invalid = fmt.Errorf("metrics: options: %w", m.invalid)
	}
	m.latest.Store(&Snapshot{Model: m.o.Model, Alarm: m.status(serving{}, ledger.Alarm{}, memory{}), Drift: m.noDrift()})
	return m
}

// SetChampion says who serves, and its classes in order. Another version, or
// the same promoted anew, starts alarm and drift reference afresh.
func (m *Metrics) SetChampion(c dg.Champion, classes dg.Classes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.champion = serving{Champion: c, classes: slices.Clone(classes)}
}

func (m *Metrics) serving() serving {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.champion
}

// Snapshot is the state of one model at one moment. It is shared: do not
// change what it points to.
type Snapshot struct {
	At           time.Time   `json:"at"`
	Model        string      `json:"model"`
	ModelVersion string      `json:"model_version"` // short; empty without a champion
	Champion     dg.Champion `json:"champion"`

	Windows []dg.Accuracy `json:"windows"` // in the order of Options.Windows
	Alarm   AlarmStatus   `json:"alarm"`
	Drift   DriftStatus   `json:"drift"`

	NewestLabelAt time.Time        `json:"newest_label_at,omitzero"` // over all versions; zero without labels
	Outcomes      []ledger.Outcome `json:"outcomes"`
	Delays        ledger.Delays    `json:"delays"`
}

// Window returns the state of the window of that length.
func (s Snapshot) Window(w time.Duration) (dg.Accuracy, bool) {
	for _, a := range s.Windows {
		if a.Window == WindowName(w) {
			return a, true
		}
	}
	return dg.Accuracy{}, false
}

// Snapshot returns the last one that Refresh computed.
func (m *Metrics) Snapshot() Snapshot { return *m.latest.Load() }

// current is what the windows of the newest snapshot were made of. While none
// of it changes they need not be made again: once a second is often, and weeks
// of slices are many.
type current struct {
	revision  ledger.Revision
	version   string
	reference estimate.Rectifier
	end       time.Time

	inputs  []windowInputs
	windows []dg.Accuracy
}

// fresh makes the windows that end at end, unless the last ones are still true.
func (m *Metrics) fresh(ctx context.Context, version string, reference estimate.Rectifier, end time.Time) ([]windowInputs, error) {
	revision, err := m.ledger.Revision(ctx)
	if err != nil {
		return nil, err
	}
	p := &m.current
	if p.revision == revision && p.version == version && p.reference == reference && p.end.Equal(end) {
		return p.inputs, nil
	}
	if revision, err = m.settle(ctx); err != nil {
		return nil, err
	}
	in, err := m.read(ctx, version, reference, end, m.o.Windows...)
	if err != nil {
		return nil, err
	}
	*p = current{revision: revision, version: version, reference: reference, end: end, inputs: in}
	for _, w := range in {
		p.windows = append(p.windows, w.figures())
	}
	return in, nil
}

// settleFor bounds the time that figures wait for the ledger's bookkeeping,
// which makes them cheaper and changes none.
const settleFor = 2 * time.Second

// settle lets the ledger count what has changed, and returns where it stands.
func (m *Metrics) settle(ctx context.Context) (ledger.Revision, error) {
	soon, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	if err := m.ledger.Settle(soon); err != nil && soon.Err() == nil {
		m.o.Logger.Warn("the ledger is not settled; figures are right but slow", "err", err)
	}
	return m.ledger.Revision(ctx)
}

// Refresh computes a new snapshot from the ledger. When it fails, the last
// snapshot stays. Each RecordEvery the windows are kept as published, for
// [Metrics.Replay]; an error of that alone comes with the new snapshot.
func (m *Metrics) Refresh(ctx context.Context) (Snapshot, error) {
	if m.invalid != nil {
		return Snapshot{}, m.invalid
	}
	m.refresh.Lock()
	defer m.refresh.Unlock()
	c := m.serving()
	s := Snapshot{At: m.o.Now().UTC(), Model: m.o.Model, ModelVersion: c.Version.Short(), Champion: c.Champion}
	row, mem, err := m.memory(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("metrics: refresh: %w", err)
	}
	s.Alarm = m.status(c, row, mem)
	var reference estimate.Rectifier
	if c.watchedBy(row) {
		reference = mem.Rectifier
	}
	in, err := m.fresh(ctx, s.ModelVersion, reference, ceil(s.At, m.o.Stride))
	if err != nil {
		return Snapshot{}, fmt.Errorf("metrics: refresh: %w", err)
	}
	s.Windows = m.current.windows
	if s.Drift, err = m.inputDrift(ctx, c, s.At); err != nil {
		return Snapshot{}, fmt.Errorf("metrics: refresh: %w", err)
	}
	if s.Outcomes, err = m.ledger.OutcomeTotals(ctx); err != nil {
		return Snapshot{}, fmt.Errorf("metrics: refresh: %w", err)
	}
	if s.Delays, err = m.ledger.LabelDelays(ctx); err != nil {
		return Snapshot{}, fmt.Errorf("metrics: refresh: %w", err)
	}
	s.NewestLabelAt = s.Delays.Newest
	m.latest.Store(&s)
	m.refreshed.Store(time.Now().UnixNano())
	if err := m.record(ctx, s, in); err != nil {
		return s, fmt.Errorf("metrics: refresh: %w", err)
	}
	return s, nil
}

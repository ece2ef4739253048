package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// AlarmOptions configure the drift alarm. Event time is cut into slots; a slot
// closes once, by the clock, and what comes later revises windows but no alarm.
type AlarmOptions struct {
	ThresholdYears  float64       // evidence at which it is raised; also the mean time to a false alarm, in years; 10
	Tolerance       float64       // error rate on top of the reference's that is still fine, 0 up to 1
	ReferenceLabels int           // labels of the new champion that make its reference; 1,000
	SlotLength      time.Duration // fixed beforehand; 6h
	LabelGrace      time.Duration // how long after a slot's end its labels are waited for; a pick without one counts as correct; 24h, below 0 means none
	Hold            time.Duration // how long evidence must last before the alarm fires
	ResolveHold     time.Duration // how long after the last evidence a firing alarm resolves; 0: only a promotion ends it
}

func (o AlarmOptions) withDefaults() AlarmOptions {
	setDefault(&o.ThresholdYears, 10)
	setDefault(&o.ReferenceLabels, 1000)
	setDefault(&o.SlotLength, 6*time.Hour)
	setDefault(&o.LabelGrace, 24*time.Hour)
	o.LabelGrace = max(0, o.LabelGrace)
	return o
}

// Validate reports every fault at once; the error is [driftgate.ErrInvalid].
func (o AlarmOptions) Validate() error {
	o = o.withDefaults()
	errs := []error{estimate.AlarmOptions{Hold: o.Hold, ResolveHold: o.ResolveHold}.Validate()}
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format+": %w", append(args, dg.ErrInvalid)...))
	}
	if !(o.ThresholdYears > 0) || math.IsInf(o.ThresholdYears, 0) {
		bad("alarm threshold_years %g: want over 0", o.ThresholdYears)
	}
	if !(o.Tolerance >= 0 && o.Tolerance < 1) {
		bad("alarm tolerance %g: want 0 up to 1, not a percentage", o.Tolerance)
	}
	if o.ReferenceLabels < 1 {
		bad("alarm reference_labels %d: want at least 1", o.ReferenceLabels)
	}
	if o.SlotLength <= 0 {
		bad("alarm slot_length %s: want over 0s", o.SlotLength)
	}
	return errors.Join(errs...)
}

// AlarmEvent is a step of the alarm that others act on.
type AlarmEvent struct {
	State        estimate.AlarmState `json:"state"`          // Firing or Resolved
	At           time.Time           `json:"at"`             // when the slot that made it was closed
	Since        time.Time           `json:"since,omitzero"` // when the drift seems to have begun
	ModelVersion string              `json:"model_version"`  // short
	Evidence     float64             `json:"evidence_years"`
}

// AlarmStatus is where the alarm stands, for pages and metrics.
type AlarmStatus struct {
	State          estimate.AlarmState `json:"state"`
	Since          time.Time           `json:"since,omitzero"`                 // when State was entered; zero when it never moved
	Onset          time.Time           `json:"onset,omitzero"`                 // of a pending or firing alarm: when the drift seems to have begun
	Evidence       float64             `json:"evidence_years"`                 // now, in years; starts at 0 again whenever the alarm fires
	FiredEvidence  float64             `json:"fired_evidence_years,omitempty"` // of a pending or firing alarm: at the crossing that counts, in years
	ThresholdYears float64             `json:"threshold_years"`

	Watching        bool    `json:"watching"`                  // the reference is complete and slots feed the detector
	ReferenceLabels int     `json:"reference_labels"`          // labels collected for the reference ...
	ReferenceNeeded int     `json:"reference_needed"`          // ... of so many
	ReferenceError  float64 `json:"reference_error,omitempty"` // upper 97.5% bound of the champion's weighted error, 0 to 1; 0 until Watching
	P0              float64 `json:"p0,omitempty"`              // error rate that is still fine: ReferenceError + tolerance; 0 until Watching

	WatchingSince time.Time `json:"watching_since,omitzero"` // end of the slot that completed the reference, or of the last one before driftgate kept EValue and Sequence; zero until Watching
	EValue        float64   `json:"evalue"`                  // plain evidence against "the error is P0 at most" since WatchingSince: 1 none, 20 as much as a 5% test asks; never resets
	Sequence      Sequence  `json:"sequence"`                // where the accuracy lies since WatchingSince

	Slots       int       `json:"slots"`                 // closed since this champion took over
	Started     time.Time `json:"started,omitzero"`      // when it took over
	ClosedUntil time.Time `json:"closed_until,omitzero"` // end of the newest closed slot
	Text        string    `json:"text"`                  // all this in a sentence
}

// Sequence is a confidence sequence of the accuracy over all closed slots since
// the reference was complete: 95% bounds that hold at every moment at once,
// however often one looks. As in the alarm, a pick without a label counts as
// correct.
type Sequence struct {
	Lower  float64 `json:"lower"` // 0 without blocks
	Upper  float64 `json:"upper"` // 1 without blocks
	Blocks int     `json:"blocks"`
}

// Advance closes every slot that is due (its end and LabelGrace have passed),
// in order, and moves the alarm. It returns the firing and resolved events for
// the triggers. The first call of a process hands out the last event again, in
// case the process before died between storing it and passing it on: receivers
// deduplicate by State, At and ModelVersion.
//
// Slots without predictions are jumped over. Without a champion nothing
// happens.
func (m *Metrics) Advance(ctx context.Context) ([]AlarmEvent, error) {
	if m.invalid != nil {
		return nil, m.invalid
	}
	m.advance.Lock()
	defer m.advance.Unlock()
	c := m.serving()
	if c.Version == "" {
		return nil, nil
	}
	row, mem, events, err := m.resume(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("metrics: advance: %w", err)
	}
	now := m.o.Now().UTC()
	due := dg.Slot(now.Add(-m.o.Alarm.LabelGrace), m.o.Alarm.SlotLength).Start
	for {
		slot, ok, err := m.nextSlot(ctx, row, due)
		if err != nil {
			return events, fmt.Errorf("metrics: advance: %w", err)
		}
		if !ok {
			return events, nil
		}
		e, err := m.close(ctx, &row, &mem, slot, now)
		if err != nil {
			return events, fmt.Errorf("metrics: advance: %w", err)
		}
		events = append(events, e...)
	}
}

// resume reads the alarm's memory, gives a new champion a new one, and hands
// out the last event when this process has not done so yet.
func (m *Metrics) resume(ctx context.Context, c serving) (ledger.Alarm, memory, []AlarmEvent, error) {
	row, mem, err := m.memory(ctx)
	if err != nil {
		return row, mem, nil, err
	}
	var events []AlarmEvent
	if !c.watchedBy(row) {
		if row, mem, err = m.restart(ctx, c, row, mem); err != nil {
			return row, mem, nil, err
		}
		m.announced = false
	}
	if !m.announced && mem.Last != nil {
		events = append(events, *mem.Last)
	}
	m.announced = true
	return row, mem, events, nil
}

// memory reads where the alarm stands; zero before it first started.
func (m *Metrics) memory(ctx context.Context) (ledger.Alarm, memory, error) {
	var mem memory
	row, err := m.ledger.Alarm(ctx, m.o.Model)
	if errors.Is(err, dg.ErrNotFound) {
		return ledger.Alarm{}, mem, nil
	}
	if err != nil {
		return row, mem, err
	}
	if err := json.Unmarshal(row.Memory, &mem); err != nil {
		return row, mem, fmt.Errorf("alarm memory of %s: %w", row.ModelVersion, err)
	}
	return row, mem, nil
}

// watchedBy reports whether that alarm is this champion's.
func (c serving) watchedBy(row ledger.Alarm) bool {
	return row.ModelVersion == c.Version.Short() && row.Started.Equal(c.PromotedAt)
}

// reference is how a version's answers lay above its confidence at its best; it
// has no labels while that is not known.
func (m *Metrics) reference(ctx context.Context, version string) (estimate.Rectifier, error) {
	row, mem, err := m.memory(ctx)
	if err != nil || version == "" || row.ModelVersion != version {
		return estimate.Rectifier{}, err
	}
	return mem.Rectifier, nil
}

// restart gives the alarm a new memory; an alarm that was firing for the
// champion before resolves.
func (m *Metrics) restart(ctx context.Context, c serving, old ledger.Alarm, mem memory) (ledger.Alarm, memory, error) {
	var fresh memory
	var marks []ledger.Event
	if mem.Alarm.State == estimate.Firing {
		fresh.Last = &AlarmEvent{State: estimate.Resolved, At: m.o.Now().UTC(), Since: mem.Alarm.Onset,
			ModelVersion: old.ModelVersion, Evidence: mem.Alarm.Evidence}
		marks = append(marks, m.mark(*fresh.Last, fmt.Sprintf("version %s took over", c.Version.Short())))
	}
	body, err := json.Marshal(fresh)
	if err != nil {
		return old, fresh, err
	}
	row := ledger.Alarm{Model: m.o.Model, ModelVersion: c.Version.Short(), Started: c.PromotedAt.UTC(), ClosedUntil: c.PromotedAt.UTC(), Memory: body}
	if err := m.ledger.StartAlarm(ctx, row, marks...); err != nil {
		return old, fresh, err
	}
	m.o.Logger.InfoContext(ctx, "alarm starts afresh", "model_version", row.ModelVersion)
	return row, fresh, nil
}

// mark is an alarm event as charts show it.
func (m *Metrics) mark(e AlarmEvent, text string) ledger.Event {
	return ledger.Event{At: e.At, Kind: "alarm_" + string(e.State), Model: m.o.Model, ModelVersion: e.ModelVersion, Text: text}
}

// nextSlot finds the first slot with predictions after the last closed one and
// before due.
func (m *Metrics) nextSlot(ctx context.Context, row ledger.Alarm, due time.Time) (dg.Interval, bool, error) {
	if !row.ClosedUntil.Before(due) {
		return dg.Interval{}, false, nil
	}
	at, ok, err := m.ledger.NextPrediction(ctx, row.ModelVersion, dg.Interval{Start: row.ClosedUntil, End: due})
	if err != nil || !ok {
		return dg.Interval{}, false, err
	}
	slot := dg.Slot(at, m.o.Alarm.SlotLength)
	if slot.Start.Before(row.ClosedUntil) { // taken over, or another slot length, in the middle of a slot
		slot.Start = row.ClosedUntil
	}
	return slot, true, nil
}

// close reads one slot, steps, and stores both in one transaction.
func (m *Metrics) close(ctx context.Context, row *ledger.Alarm, mem *memory, slot dg.Interval, now time.Time) ([]AlarmEvent, error) {
	in, err := m.inputs(ctx, row.ModelVersion, slot, now)
	if err != nil {
		return nil, err
	}
	next, out, err := mem.next(in)
	if err != nil {
		return nil, err
	}
	var marks []ledger.Event
	for _, e := range out.Events {
		marks = append(marks, m.mark(e, next.sentence(in.Options, out)))
	}
	if out.Referenced {
		marks = append(marks, ledger.Event{At: now, Kind: "reference", Model: m.o.Model, ModelVersion: row.ModelVersion, Text: next.sentence(in.Options, out)})
	}
	stored := ledger.AlarmSlot{Model: m.o.Model, ModelVersion: row.ModelVersion, Started: row.Started, Slot: slot, ClosedAt: now}
	if stored.Inputs, stored.Outcome, stored.Memory, err = marshalSlot(in, out, next); err != nil {
		return nil, err
	}
	if err := m.ledger.CloseSlot(ctx, stored, marks...); err != nil {
		return nil, err
	}
	row.ClosedUntil, row.Memory, *mem = slot.End, stored.Memory, next
	for _, e := range out.Events {
		m.o.Logger.WarnContext(ctx, "drift alarm "+string(e.State), "model_version", e.ModelVersion, "since", e.Since, "evidence_years", e.Evidence)
	}
	return out.Events, nil
}

// inputs reads what a slot's decision is made of.
func (m *Metrics) inputs(ctx context.Context, version string, slot dg.Interval, now time.Time) (slotInputs, error) {
	in := slotInputs{Rules: slotRules, ModelVersion: version, Slot: slot, ClosedAt: now, Options: m.o.Alarm}
	counts, err := m.ledger.Counts(ctx, version, slot)
	if err != nil {
		return in, err
	}
	picks, err := m.ledger.Picks(ctx, version, slot)
	if err != nil {
		return in, err
	}
	type cell struct {
		stratum  dg.Stratum
		interval int64
	}
	index := map[cell]int{}
	at := func(stratum dg.Stratum, interval time.Time) *slotStratum {
		c := cell{stratum, interval.UnixNano()}
		i, ok := index[c]
		if !ok {
			i = len(in.Strata)
			index[c] = i
			in.Strata = append(in.Strata, slotStratum{Stratum: stratum, Interval: interval})
		}
		return &in.Strata[i]
	}
	for _, n := range counts {
		s := at(n.Stratum, n.Interval)
		s.Predictions, s.Labels, s.Correct, s.Sums = n.Predictions, n.Labels, n.Correct, sumsOf(n.Moments)
	}
	for _, p := range picks {
		s := at(p.Stratum, p.Interval)
		s.Picks = append(s.Picks, pickOf(p))
	}
	return in, nil
}

// status says where the alarm stands.
func (m *Metrics) status(c serving, row ledger.Alarm, mem memory) AlarmStatus {
	s := AlarmStatus{State: estimate.Quiet, ThresholdYears: m.o.Alarm.ThresholdYears, ReferenceNeeded: m.o.Alarm.ReferenceLabels, Started: c.PromotedAt}
	if c.watchedBy(row) {
		s.ClosedUntil = row.ClosedUntil
	} else {
		mem = memory{}
	}
	if mem.Alarm.State != "" {
		s.State, s.Since, s.Onset, s.FiredEvidence = mem.Alarm.State, mem.Alarm.Since, mem.Alarm.Onset, mem.Alarm.Evidence
	}
	s.Evidence, s.Slots = mem.Detector.Evidence(), mem.Slots
	s.Watching, s.ReferenceLabels, s.ReferenceError, s.P0 = mem.P0 > 0, mem.ReferenceLabels, mem.ReferenceError, mem.P0
	s.WatchingSince, s.EValue, s.Sequence.Blocks = mem.WatchingSince, mem.Evidence.E(), mem.Evidence.Blocks
	s.Sequence.Lower, s.Sequence.Upper = mem.Evidence.Sequence()
	s.Text = s.sentence(c.Version != "")
	return s
}

func (s AlarmStatus) sentence(champion bool) string {
	switch {
	case !champion:
		return "no champion yet"
	case !s.Watching:
		return fmt.Sprintf("collecting the reference: %d of %d labels", s.ReferenceLabels, s.ReferenceNeeded)
	case s.State == estimate.Firing:
		return fmt.Sprintf("firing since %s: error above %.1f%% with evidence of %.3g years", s.Since.UTC().Format(time.RFC3339), 100*s.P0, s.FiredEvidence)
	}
	return fmt.Sprintf("%s: evidence of %.3g of %.3g years against an error of at most %.1f%%", s.State, s.Evidence, s.ThresholdYears, 100*s.P0)
}

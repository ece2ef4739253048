package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/rollout"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// watched is one thing that is watched, and the records as they are.
type watched struct {
	champion dg.Champion
	exposure dg.Exposure
	watch    ledger.Watch // zero: nothing
	fresh    bool         // the champion, not the challenger
	last     time.Time    // slots that begin at it or later do not count; zero: no limit
}

// Rollout tells how things stand, and changes nothing.
func (p *Pipelines) Rollout(ctx context.Context) (rollout.Status, error) {
	ws, err := p.watched(ctx)
	if err != nil || len(ws) == 0 {
		return rollout.Status{Decision: rollout.Decision{Why: noChampion}}, err
	}
	var status rollout.Status
	for _, w := range ws {
		slots, err := p.closed(ctx, w.watch)
		if err != nil {
			return rollout.Status{}, err
		}
		if status = p.look(ctx, w, slots); status.Move != rollout.Stay {
			break
		}
	}
	return status, nil
}

const noChampion = "there is no champion yet"

// rollout closes the slots that are due and moves what has to be moved. It may
// run again at any moment: slots close once, and records move by
// compare-and-swap from what was decided on.
func (p *Pipelines) rollout(ctx context.Context, runID string, _ any) (rollout.Status, error) {
	p.rolling.Lock() // a run by hand beside the scheduled one would close the same slots
	defer p.rolling.Unlock()
	ws, err := p.watched(ctx)
	if err != nil || len(ws) == 0 {
		return rollout.Status{Decision: rollout.Decision{Why: noChampion}}, err
	}
	p.metrics.watch.forget()
	var status rollout.Status
	for _, w := range ws {
		if status, err = p.roll(ctx, runID, w); err != nil || status.Move != rollout.Stay {
			return status, err // what is watched has changed
		}
	}
	return status, nil
}

// roll closes what is due of one watch, decides, and acts.
func (p *Pipelines) roll(ctx context.Context, runID string, w watched) (rollout.Status, error) {
	slots, closed, err := p.closeSlots(ctx, runID, w)
	if err != nil && !Permanent(err) {
		return rollout.Status{}, err
	}
	status := p.look(ctx, w, slots)
	status.Closed = closed
	if err != nil { // other classes, or a model that is gone: the next run would fail alike
		p.log.ErrorContext(ctx, "the models cannot be compared on production", "run", runID, "subject", w.watch.Subject.Short(), "against", w.watch.Against.Short(), "error", err)
		status.Why = "the models cannot be compared: " + err.Error()
		if !w.fresh {
			status.Move = rollout.End
		}
	}
	p.metrics.watch.saw(status)
	moved, err := p.act(ctx, w, status)
	if !moved {
		status.Move = rollout.Stay
	}
	p.metrics.watch.moves.WithLabelValues(status.Move.String()).Inc()
	return status, err
}

// watched returns the fresh champion, if it is watched, before what is exposed;
// where neither is, one thing that is nothing. There is none without a champion.
func (p *Pipelines) watched(ctx context.Context) (ws []watched, err error) {
	c, err := p.d.Registry.Champion(ctx)
	if errors.Is(err, dg.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e, err := p.d.Registry.Exposure(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return nil, err
	}
	w := watched{champion: c, exposure: e}
	if p.o.Rollout.Watches(c, p.o.Now()) {
		fresh := w
		fresh.fresh, fresh.last = true, c.PromotedAt.Add(p.o.Rollout.Watch)
		fresh.watch = ledger.Watch{Model: p.o.Model, Subject: c.Version, Against: c.Previous, Began: c.PromotedAt}
		ws = append(ws, fresh)
	}
	if e.Exposes(c.Version) {
		w.watch = ledger.Watch{Model: p.o.Model, Subject: e.Challenger, Against: e.Against, Began: e.Began}
	}
	if e.Challenger != "" || len(ws) == 0 {
		ws = append(ws, w)
	}
	return ws, nil
}

func (p *Pipelines) closed(ctx context.Context, w ledger.Watch) ([]rollout.Slot, error) {
	if w.Subject == "" {
		return nil, nil
	}
	rows, err := p.d.Ledger.WatchSlots(ctx, w)
	out := make([]rollout.Slot, len(rows))
	for i, r := range rows {
		out[i] = rollout.Slot{Slot: r.Slot, Pairs: r.Pairs, Blocks: r.Differences}
	}
	return out, err
}

// closeSlots closes what is due, oldest first, and returns every closed slot.
func (p *Pipelines) closeSlots(ctx context.Context, runID string, w watched) (slots []rollout.Slot, closed int, err error) {
	if slots, err = p.closed(ctx, w.watch); err != nil || w.watch.Subject == "" {
		return slots, 0, err
	}
	for {
		due := p.o.Rollout.Due(w.watch.Began, slots, w.last, p.o.Now())
		s, ok, err := p.slot(ctx, w.watch, due)
		if err != nil || !ok {
			return slots, closed, err
		}
		row := ledger.WatchSlot{Slot: s.Slot, ClosedAt: p.o.Now().UTC(), Pairs: s.Pairs, Differences: s.Blocks}
		if err := p.d.Ledger.CloseWatchSlot(ctx, w.watch, row); errors.Is(err, dg.ErrConflict) {
			slots, err = p.closed(ctx, w.watch) // another gateway was first
			return slots, closed, err
		} else if err != nil {
			return slots, closed, err
		}
		p.log.Debug("slot of the watch closed", "run", runID, "subject", w.watch.Subject.Short(), "slot", s.Slot, "pairs", s.Pairs, "blocks", len(s.Blocks))
		slots, closed = append(slots, s), closed+1
	}
}

// slot is the first of the due spans that can be weighed.
func (p *Pipelines) slot(ctx context.Context, w ledger.Watch, due []dg.Interval) (rollout.Slot, bool, error) {
	for i, iv := range due {
		blocks, pairs, err := p.d.Evaluator.Differences(ctx, w.Against, w.Subject, iv)
		if err != nil {
			return rollout.Slot{}, false, err
		}
		if len(blocks) > 0 || (i == len(due)-1 && rollout.Settled(due)) {
			return rollout.Slot{Slot: iv, Pairs: pairs, Blocks: blocks}, true, nil
		}
	}
	return rollout.Slot{}, false, nil
}

// look decides on what the slots show.
func (p *Pipelines) look(ctx context.Context, w watched, slots []rollout.Slot) rollout.Status {
	now, plan := p.o.Now().UTC(), p.o.Rollout
	ev := plan.Weigh(slots)
	s := rollout.Status{Champion: w.champion, Exposure: w.exposure, Subject: w.watch.Subject, Against: w.watch.Against, Evidence: ev}
	if w.fresh || w.exposure.Challenger == "" {
		s.Decision = plan.Fresh(w.champion, ev, now)
	} else {
		s.Decision = plan.Next(w.exposure, w.champion.Version, ev, now)
	}
	if e := w.exposure; p.d.Accuracy != nil && !w.fresh && e.Exposes(w.champion.Version) && e.Stage == dg.Canary && now.After(e.Began) {
		if a, err := p.d.Accuracy(ctx, e.Challenger.Short(), now.Sub(e.Began), now); err == nil {
			s.Accuracy = a.Estimates
		} else {
			p.log.WarnContext(ctx, "the canary's accuracy is not known", "version", e.Challenger.Short(), "error", err)
		}
	}
	return s
}

// act carries a decision out. Whoever moved a record meanwhile wins, nothing
// has moved then, and the next run looks again.
func (p *Pipelines) act(ctx context.Context, w watched, s rollout.Status) (moved bool, err error) {
	// Like a promotion by the gate, a move that is decided is not cancelled.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	switch e := w.exposure; s.Move {
	case rollout.Advance:
		next := e
		next.Stage, next.Share, next.Step, next.Reason, next.Since = s.Stage.Stage, s.Stage.Share, s.Step, s.Why, time.Time{}
		err = p.expose(ctx, next, e, ledger.EventExposure, s)
	case rollout.End:
		err = p.expose(ctx, dg.Exposure{Reason: s.Why, RunID: e.RunID}, e, ledger.EventExposureEnd, s)
	case rollout.Promote:
		err = p.graduate(ctx, w, s)
	case rollout.Rollback:
		err = p.takeBack(ctx, w, s)
	case rollout.Stay:
		return false, nil
	}
	if errors.Is(err, dg.ErrConflict) {
		p.log.WarnContext(ctx, "not moved: a record changed meanwhile; the next run looks again", "move", s.Move, "error", err)
		return false, nil
	}
	return err == nil, err
}

func (p *Pipelines) expose(ctx context.Context, next, seen dg.Exposure, kind string, evidence any) error {
	e, err := p.d.Registry.Expose(ctx, next, seen)
	if err != nil {
		return err
	}
	subject := e.Challenger
	if subject == "" {
		subject = seen.Challenger
	}
	return p.audit(ctx, kind, e.Since, subject, ledger.ByRollout, exposureText(e), evidence)
}

func exposureText(e dg.Exposure) string {
	switch {
	case e.Challenger == "":
		return "ended: " + e.Reason
	case e.Stage == dg.Canary:
		return fmt.Sprintf("canary on %.3g%% of the traffic: %s", 100*e.Share, e.Reason)
	}
	return "in the shadow: " + e.Reason
}

// graduate promotes a challenger that came through every stage.
func (p *Pipelines) graduate(ctx context.Context, w watched, s rollout.Status) error {
	c, err := p.d.Registry.Promote(ctx, w.exposure.Challenger, w.champion, "rollout: "+s.Why, w.exposure.RunID)
	if err != nil {
		return err
	}
	if err := p.audit(ctx, ledger.EventPromotion, c.PromotedAt, c.Version, ledger.ByRollout, c.Reason, s); err != nil {
		return err
	}
	return p.expose(ctx, dg.Exposure{Reason: "the challenger is champion", RunID: w.exposure.RunID}, w.exposure, ledger.EventExposureEnd, nil)
}

// takeBack lets the champion before the fresh one serve again.
func (p *Pipelines) takeBack(ctx context.Context, w watched, s rollout.Status) error {
	c, err := p.d.Registry.Rollback(ctx, w.champion, s.Why)
	if err != nil {
		return err
	}
	p.log.Error("fresh champion taken back", "version", w.champion.Version.Short(), "to", c.Version.Short(), "why", s.Why)
	return p.audit(ctx, ledger.EventRollback, c.PromotedAt, c.Version, ledger.ByRollout, s.Why, s)
}

// begin exposes a challenger that passed the gate, in the plan's first stage.
func (p *Pipelines) begin(ctx context.Context, runID string, in promoteInput) (promoted, error) {
	seen, err := p.d.Registry.Exposure(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return promoted{}, err
	}
	if e := seen; e.Exposes(in.Champion.Version) && e.RunID != runID {
		return promoted{Note: fmt.Sprintf("not exposed: %s is tried on production already; compare, then expose it by hand", e.Challenger.Short())}, nil
	}
	next := p.o.Rollout.First(p.o.Model, in.Challenger, in.Champion.Version, in.Reason, runID, p.o.Now().UTC().Truncate(time.Second))
	if seen.Challenger == next.Challenger && seen.RunID == runID {
		next = seen // begun before this process died
	}
	e, err := p.d.Registry.Expose(ctx, next, seen)
	if errors.Is(err, dg.ErrConflict) {
		p.log.Warn("challenger not exposed: a record changed meanwhile", "run", runID, "error", err)
		return promoted{Note: "not exposed: the champion, or what is exposed, changed while the challenger was judged; compare again"}, nil
	}
	if err != nil {
		return promoted{}, err
	}
	p.log.Info("challenger exposed", "run", runID, "version", e.Challenger.Short(), "stage", e.Stage, "share", e.Share)
	err = p.audit(ctx, ledger.EventExposure, e.Began, e.Challenger, ledger.ByGate, exposureText(e), in.Comparison)
	return promoted{Exposed: true, Note: fmt.Sprintf("passed the gate: stage 1 of %d, %s", len(p.o.Rollout.Stages), e.Stage)}, err
}

// audit keeps who moved a model, why, and on what.
func (p *Pipelines) audit(ctx context.Context, kind string, at time.Time, subject dg.ModelRef, who, text string, evidence any) error {
	e := ledger.Event{At: at, Kind: kind, Model: p.o.Model, ModelVersion: subject.Short(), Text: text, Who: who}
	if evidence != nil {
		b, err := json.Marshal(evidence)
		if err != nil {
			return fmt.Errorf("pipeline: evidence of the %s of %s: %w", kind, subject.Short(), err)
		}
		e.Evidence = b
	}
	return p.d.Ledger.AddEvent(ctx, e)
}

// watchMetrics are the series of rollouts and of the watch on fresh champions.
type watchMetrics struct {
	moves      *prometheus.CounterVec
	evalue     *prometheus.GaugeVec
	difference *prometheus.GaugeVec
	labels     *prometheus.GaugeVec
	accuracy   *prometheus.GaugeVec
}

func newWatchMetrics(reg prometheus.Registerer) watchMetrics {
	auto := promauto.With(reg)
	m := watchMetrics{
		moves: auto.NewCounterVec(prometheus.CounterOpts{Name: "driftgate_rollout_moves_total",
			Help: "Decisions of the rollout: stay, advance, promote, end (the challenger is tried no more), rollback."}, []string{"move"}),
		evalue: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_watch_evalue",
			Help: "Evidence, valid at any look, that the watched version is worse than what it replaces by more than is borne, or better; at 1/rollout.alpha it is shown."},
			[]string{"model_version", "side"}),
		difference: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_watch_error_difference_ratio",
			Help: "Weighted error of the watched version minus that of what it replaces, on the labels since the watch began, and its bounds, -1 to 1."},
			[]string{"model_version", "bound"}),
		labels: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_watch_labels",
			Help: "Labelled samples in closed slots that both the watched version and what it replaces have answered."}, []string{"model_version"}),
		accuracy: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_canary_accuracy_ratio",
			Help: "The canary's own production accuracy since it was exposed, and its bounds, 0 to 1."}, []string{"model_version", "estimator", "bound"}),
	}
	for _, move := range []rollout.Move{rollout.Stay, rollout.Advance, rollout.Promote, rollout.End, rollout.Rollback} {
		m.moves.WithLabelValues(move.String())
	}
	return m
}

// forget drops the figures of what was watched.
func (m watchMetrics) forget() {
	for _, v := range []*prometheus.GaugeVec{m.evalue, m.difference, m.labels, m.accuracy} {
		v.Reset()
	}
}

// saw sets the figures of a watch; none where nothing is watched.
func (m watchMetrics) saw(s rollout.Status) {
	if s.Subject == "" {
		return
	}
	version, ev := s.Subject.Short(), s.Evidence
	m.labels.WithLabelValues(version).Set(float64(ev.Pairs))
	m.evalue.WithLabelValues(version, "worse").Set(ev.Worse)
	m.evalue.WithLabelValues(version, "better").Set(ev.Better)
	if ev.Pairs > 0 {
		m.difference.WithLabelValues(version, "estimate").Set(ev.Difference)
		m.difference.WithLabelValues(version, "lower").Set(ev.Lower)
		m.difference.WithLabelValues(version, "upper").Set(ev.Upper)
	}
	for _, e := range s.Accuracy {
		m.accuracy.WithLabelValues(version, e.Estimator, "estimate").Set(e.Accuracy)
		m.accuracy.WithLabelValues(version, e.Estimator, "lower").Set(e.Lower)
		m.accuracy.WithLabelValues(version, e.Estimator, "upper").Set(e.Upper)
	}
}

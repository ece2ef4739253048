package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/registry"
	"driftgate/internal/serving"
	"driftgate/metrics"
)

const (
	testToken  = "test-token-0123456789"
	alertToken = "alerts-token-0123456789"
	knownKey   = "class_03/0e5cf5b4-6a5e-4e13-9d4e-1b1a2f8c9a11.png"
	knownRun   = "retrain-garments-1"
)

var (
	testNow    = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	champRef   = dg.ModelRef("sha256:3fa91c7be20d" + fmt.Sprintf("%052d", 1))
	oldRef     = dg.ModelRef("sha256:a47710ce9b52" + fmt.Sprintf("%052d", 2))
	freshRef   = dg.ModelRef("sha256:d90be4417a63" + fmt.Sprintf("%052d", 3))
	testTrain  = json.RawMessage(`{"phase":"training","epoch":4,"epochs":10,"step":60,"steps":120,"loss":0.412,"accuracy":0.86,"samples_per_second":11800,"seconds_left":9}`)
	testResult = json.RawMessage(`{"verdict":"promote","promoted":true}`)
)

// fake stands for every service. The fields that begin with err are what the
// methods answer.
type fake struct {
	mu        sync.Mutex
	err       error // of serving and labelling
	inboxErr  error
	decision  dg.TriggerDecision
	unloaded  bool
	noModels  bool
	state     estimate.AlarmState
	triggers  []dg.Trigger
	flags     []string
	corrected map[string]string
	labels    map[string]string
	promoted  dg.ModelRef
	cancelled string
	predicted int
	block     chan struct{}
	panics    bool
}

func newFake() *fake {
	return &fake{decision: dg.Accepted, state: estimate.Quiet, corrected: map[string]string{}, labels: map[string]string{}}
}

func (f *fake) deps() Deps {
	return Deps{
		Serving: f, Labelling: fakeLabels{f}, Models: fakeModels{f}, Accuracy: fakeAccuracy{f}, Ledger: fakeLedger{f}, Inbox: f, Pipelines: fakePipelines{f},
		Compare: func(_ context.Context, a, b dg.ModelRef) (dg.Comparison, error) {
			return dg.Comparison{Champion: a, Challenger: b, Pairs: 412, BothRight: 290, OnlyChampion: 14, OnlyChallenger: 61, BothWrong: 47, PValue: 0.00041,
				Difference: 0.067, Lower: 0.031, Upper: 0.104, ChampionAccuracy: 0.781, ChallengerAccuracy: 0.848, Verdict: dg.Promote,
				Reasons: []string{"the weighted difference is above zero with 95% certainty: +6.7 points, +3.1 to +10.4", "412 held-out pairs, at least 200 are needed"}}, nil
		},
		Ingest: func(context.Context, IngestRequest) (any, error) {
			return map[string]any{"dataset": "synthetic@0123456789ab"}, nil
		},
		Rebuild: func(context.Context) (any, error) { return map[string]any{"entered": 7}, nil },
		Check:   func(context.Context) (any, error) { return map[string]any{"ok": true}, nil },
		Reload:  func(context.Context) error { return nil },
	}
}

func testServer(t testing.TB, f *fake, change ...func(*Options)) *server {
	t.Helper()
	o := Options{Model: "garments", Token: testToken, AlertsToken: alertToken, Version: "0.1.0", RatePerSecond: -1, Now: func() time.Time { return testNow }}
	for _, c := range change {
		c(&o)
	}
	s, err := newServer(f.deps(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fake) Predict(_ context.Context, b []byte, _ string) (serving.Prediction, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.predicted++
	if f.panics {
		panic("boom")
	}
	if f.err != nil {
		return serving.Prediction{}, f.err
	}
	if f.block != nil {
		f.mu.Unlock()
		<-f.block
		f.mu.Lock()
	}
	if _, _, err := image.Decode(bytes.NewReader(b)); err != nil {
		return serving.Prediction{}, fmt.Errorf("serving: predict: no JPEG or PNG image: %w", dg.ErrInvalid)
	}
	return serving.Prediction{Key: knownKey, Label: "Dress", Probability: 0.913, ModelVersion: champRef.Short(), Top: []serving.Ranked{
		{Label: "Dress", Probability: 0.913}, {Label: "Coat", Probability: 0.052}, {Label: "T-shirt/top", Probability: 0.019}, {Label: "Shirt", Probability: 0.011}, {Label: "Pullover", Probability: 0.003}}}, nil
}

func (f *fake) Flag(_ context.Context, key string) error {
	if key != knownKey {
		return fmt.Errorf("serving: flag %s: %w", key, dg.ErrNotFound)
	}
	f.flags = append(f.flags, key)
	return f.err
}

func (f *fake) Correct(_ context.Context, key, class string) error {
	if key != knownKey {
		return fmt.Errorf("serving: correct %s: %w", key, dg.ErrNotFound)
	}
	if dg.FashionMNIST.Index(class) < 0 {
		return fmt.Errorf("serving: correct %s: %q is no class: %w", key, class, dg.ErrInvalid)
	}
	f.corrected[key] = class
	return f.err
}

func (f *fake) Image(_ context.Context, key string) ([]byte, string, error) {
	if key != knownKey {
		return nil, "", fmt.Errorf("serving: image %s: %w", key, dg.ErrNotFound)
	}
	return testPNG(), "image/png", nil
}

func (f *fake) Version() dg.ModelRef {
	if f.unloaded {
		return ""
	}
	return champRef
}
func (f *fake) Classes() dg.Classes   { return dg.FashionMNIST }
func (f *fake) Spooled() (int, int64) { return 3, 12_345 }

func (f *fake) Submit(_ context.Context, t dg.Trigger) (ledger.TriggerRecord, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inboxErr != nil {
		return ledger.TriggerRecord{}, f.inboxErr
	}
	f.triggers = append(f.triggers, t)
	t.ID = fmt.Sprintf("trigger-%d", len(f.triggers))
	r := ledger.TriggerRecord{Trigger: t, Decision: f.decision, Note: "as the test says"}
	if f.decision == dg.Accepted {
		r.RunID = knownRun
	}
	return r, nil
}

// testPNG draws a small dress.
func testPNG() []byte {
	img := image.NewGray(image.Rect(0, 0, 28, 28))
	for y := range 28 {
		half := 4 + y/4
		if y < 9 {
			half = 5 - y/4
		}
		for x := 14 - half; x < 14+half && y > 1 && y < 27; x++ {
			img.SetGray(x, y, color.Gray{Y: uint8(120 + (x*7+y*5)%100)})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

type fakeLabels struct{ *fake }

func testTask(i int) labelling.Task {
	t := labelling.Task{ID: fmt.Sprintf("0e5cf5b4-6a5e-4e13-9d4e-1b1a2f8c9a%02d.png", i), Key: knownKey, PredictedClass: "Dress", Confidence: 0.412, Stratum: dg.LowConfidence,
		ModelVersion: champRef.Short(), Timestamp: testNow.Add(-time.Hour)}
	if i == 1 {
		t.Confidence, t.Stratum, t.CorrectedClass = math.NaN(), dg.Corrected, "Coat"
	}
	return t
}

func (f fakeLabels) Curate(_ context.Context, iv dg.Interval, _ bool) (labelling.CurateReport, error) {
	return labelling.CurateReport{Interval: iv, Candidates: 16, Selected: map[dg.Stratum]int{dg.Random: 5}}, f.err
}
func (f fakeLabels) Collect(context.Context) (labelling.CollectReport, error) {
	return labelling.CollectReport{Collected: 7, Correct: 6, Line: "Accuracy on batch: 85.71% (6/7)"}, f.err
}
func (f fakeLabels) Lease(_ context.Context, _ string, n int) ([]labelling.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var tasks []labelling.Task
	for i := range 12 {
		if t := testTask(i); f.labels[t.ID] == "" && len(tasks) < n {
			tasks = append(tasks, t)
		}
	}
	return tasks, f.err
}
func (f fakeLabels) Answer(_ context.Context, who, id, label string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.labels[id] = label
	f.labels["who"] = who
	return f.err
}
func (f fakeLabels) Skip(_ context.Context, _, id string) error {
	return f.Answer(nil, "", id, "skipped")
}
func (f fakeLabels) Undo(context.Context, string) (labelling.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := testTask(0)
	delete(f.labels, t.ID)
	return t, f.err
}
func (f fakeLabels) Progress(context.Context) (ledger.LabelProgress, error) {
	return ledger.LabelProgress{Waiting: 37, Answered: 4, Labelled: 1289}, nil
}
func (f fakeLabels) Image(_ context.Context, id string) ([]byte, string, error) {
	return testPNG(), "image/png", nil
}
func (f fakeLabels) Export(_ context.Context, w io.Writer, format string) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := io.WriteString(w, "id,label\na.png,Dress\n")
	return n, err
}
func (f fakeLabels) Import(_ context.Context, r io.Reader, format, who string) (labelling.ImportReport, error) {
	b, err := io.ReadAll(r)
	return labelling.ImportReport{Rows: bytes.Count(b, []byte("\n")), Imported: 1}, err
}

type fakeModels struct{ *fake }

func testEntry(ref dg.ModelRef, role string, at time.Time, parent dg.ModelRef, acc float64, n int) registry.Entry {
	return registry.Entry{Ref: ref, Role: role, SavedAt: at, Manifest: network.Manifest{Dataset: "synthetic@9c2f0e6b1d44", Parent: parent, Spec: network.Spec{Architecture: "mlp"},
		TrainedOn: make([]string, n), Metrics: map[string]float64{"test_accuracy": acc}, Epochs: 10, Seed: 1}}
}
func (f fakeModels) Models(context.Context) ([]registry.Entry, error) {
	if f.noModels {
		return nil, nil
	}
	return []registry.Entry{
		testEntry(oldRef, "previous", testNow.Add(-20*24*time.Hour), "", 0.8912, 6000),
		testEntry(champRef, "champion", testNow.Add(-6*24*time.Hour), oldRef, 0.9021, 7412),
		testEntry(freshRef, "candidate", testNow.Add(-2*time.Hour), champRef, 0.9044, 8120)}, nil
}
func (f fakeModels) History(context.Context) ([]dg.Champion, error) {
	if f.noModels {
		return nil, nil
	}
	c, _ := f.Champion(nil)
	return []dg.Champion{{Model: "garments", Version: oldRef, Generation: 1, PromotedAt: testNow.Add(-20 * 24 * time.Hour), Reason: "first"}, c}, nil
}
func (f fakeModels) Champion(context.Context) (dg.Champion, error) {
	if f.noModels {
		return dg.Champion{}, fmt.Errorf("registry: champion: %w", dg.ErrNotFound)
	}
	return dg.Champion{Model: "garments", Version: champRef, Previous: oldRef, Generation: 2, PromotedAt: testNow.Add(-6 * 24 * time.Hour), Reason: "gate: +6.7 points on 412 held-out labels", RunID: knownRun}, nil
}
func (f fakeModels) Resolve(_ context.Context, short string) (dg.ModelRef, error) {
	for _, r := range []dg.ModelRef{oldRef, champRef, freshRef} {
		if short == r.Short() || short == string(r) {
			return r, nil
		}
	}
	switch short {
	case "champion":
		return champRef, nil
	case "previous":
		return oldRef, nil
	}
	return "", fmt.Errorf("registry: resolve %q: %w", short, dg.ErrNotFound)
}
func (f fakeModels) Promote(_ context.Context, ref dg.ModelRef, seen dg.Champion, reason, _ string) (dg.Champion, error) {
	f.fake.promoted = ref
	return dg.Champion{Model: "garments", Version: ref, Previous: seen.Version, Generation: seen.Generation + 1, Reason: reason}, f.err
}
func (f fakeModels) Rollback(context.Context, string) (dg.Champion, error) {
	if f.noModels {
		return dg.Champion{}, fmt.Errorf("registry: rollback: nothing served before: %w", dg.ErrRefused)
	}
	return dg.Champion{Version: oldRef, Generation: 3}, nil
}

type fakeAccuracy struct{ *fake }

// testAccuracy makes a window whose accuracy is acc, with honest-looking bounds.
func testAccuracy(name string, length time.Duration, end time.Time, acc float64, labels int) dg.Accuracy {
	a := dg.Accuracy{Window: name, Start: end.Add(-length), End: end, ModelVersion: champRef.Short(), Predictions: labels * 21, Selected: labels + labels/6, Labels: labels,
		NewestLabelAt: end.Add(-12 * time.Minute)}
	m, k := labels/4, int(float64(labels/4)*acc)
	a.Strata = []dg.StratumCount{{Stratum: dg.LowConfidence, Predictions: labels * 3 / 2, Selected: m, Labels: m, Correct: k * 2 / 3}, {Stratum: dg.Flagged, Predictions: labels / 8, Labels: labels / 9, Correct: labels / 20},
		{Stratum: dg.Corrected, Predictions: labels / 16, Labels: labels / 18, Correct: labels / 60}, {Stratum: dg.Random, Predictions: labels * 19, Labels: labels / 2, Correct: int(float64(labels/2) * acc)}}
	if labels < 30 {
		return a
	}
	half := 1.96 * math.Sqrt(acc*(1-acc)/float64(labels)) * 1.3
	a.Estimates = []dg.Estimate{{Estimator: "stratified", Accuracy: acc, Lower: max(acc-half*1.1, 0), Upper: min(acc+half*0.9, 1), StandardError: half / 2, Labels: labels, EffectiveLabels: float64(labels) * .7},
		{Estimator: "labelled", Accuracy: acc - .13, Lower: acc - .15, Upper: acc - .11, Labels: labels}}
	return a
}
func (f fakeAccuracy) Snapshot() metrics.Snapshot {
	c, _ := fakeModels(f).Champion(nil)
	s := metrics.Snapshot{At: testNow, Model: "garments", ModelVersion: champRef.Short(), Champion: c, InputDrift: map[string]float64{"class_mix": 0.084}, ClassMix: &estimate.MixDrift{Distance: 0.084, ChiSquare: 21.4, Freedom: 9, PValue: 0.011},
		NewestLabelAt: testNow.Add(-12 * time.Minute)}
	s.Windows = []dg.Accuracy{testAccuracy("30m", 30*time.Minute, testNow, .9, 9), testAccuracy("1h", time.Hour, testNow, .871, 34), testAccuracy("6h", 6*time.Hour, testNow, .884, 161), testAccuracy("24h", 24*time.Hour, testNow, .889, 612), testAccuracy("7d", 7*24*time.Hour, testNow, .842, 3904)}
	s.Alarm = metrics.AlarmStatus{State: f.state, ThresholdYears: 10, Evidence: 0.31, Watching: true, ReferenceLabels: 300, ReferenceNeeded: 300, ReferenceError: .13, P0: .15, Slots: 23, Started: testNow.Add(-6 * 24 * time.Hour), ClosedUntil: testNow.Add(-30 * time.Hour), Text: "no sign of drift"}
	if f.state == estimate.Firing {
		s.Alarm.Since, s.Alarm.Onset, s.Alarm.Evidence = testNow.Add(-3*time.Hour), testNow.Add(-40*time.Hour), 14.2
	}
	if f.noModels {
		s = metrics.Snapshot{}
	}
	return s
}
func (f fakeAccuracy) Accuracy(_ context.Context, w time.Duration, at time.Time) (dg.Accuracy, error) {
	return testAccuracy(metrics.WindowName(w), w, at, .889, 612), f.err
}
func (f fakeAccuracy) Series(_ context.Context, w time.Duration, iv dg.Interval, n int) ([]dg.Accuracy, error) {
	var out []dg.Accuracy
	for i := range n {
		at := iv.Start.Add(time.Duration(int64(iv.Length()) / int64(n-1) * int64(i)))
		acc := .905 + .008*math.Sin(float64(i)/3) + .004*math.Sin(float64(i)*1.7)
		if i > 38 && i < 72 {
			acc -= .16 * (1 - math.Exp(-float64(i-38)/8))
		}
		labels := 560 + 60*(i%5)
		if i > 20 && i < 26 {
			labels = 11
		}
		out = append(out, testAccuracy(metrics.WindowName(w), w, at, acc, labels))
	}
	return out, f.err
}

type fakeLedger struct{ *fake }

func (f fakeLedger) Counts(context.Context, string, dg.Interval) ([]dg.StratumCount, error) {
	return []dg.StratumCount{{Stratum: dg.Random, Predictions: 12_000}, {Stratum: dg.Flagged, Predictions: 345}}, nil
}
func testRuns() []ledger.Run {
	return []ledger.Run{
		{ID: "retrain-garments-8f2c1a", Pipeline: "retrain", Model: "garments", State: ledger.RunRunning, TriggerID: "t3", Progress: testTrain, RequestedAt: testNow.Add(-40 * time.Second), StartedAt: testNow.Add(-38 * time.Second)},
		{ID: "curate-2026-03-14T14:30:00Z", Pipeline: "curate", State: ledger.RunDone, Result: json.RawMessage(`{"candidates":212,"selected":{"low_confidence":31,"random":5}}`), RequestedAt: testNow.Add(-30 * time.Minute), StartedAt: testNow.Add(-30 * time.Minute), FinishedAt: testNow.Add(-30*time.Minute + 2*time.Second)},
		{ID: knownRun, Pipeline: "retrain", Model: "garments", State: ledger.RunDone, Verdict: "promote", Result: testResult, RequestedAt: testNow.Add(-6 * 24 * time.Hour), StartedAt: testNow.Add(-6 * 24 * time.Hour), FinishedAt: testNow.Add(-6*24*time.Hour + 74*time.Second)},
		{ID: "retrain-garments-77d0e2", Pipeline: "retrain", Model: "garments", State: ledger.RunFailed, Error: "trainer: child: killed", RequestedAt: testNow.Add(-7 * 24 * time.Hour), StartedAt: testNow.Add(-7 * 24 * time.Hour), FinishedAt: testNow.Add(-7*24*time.Hour + 21*time.Second)},
	}
}
func (f fakeLedger) Run(_ context.Context, id string) (ledger.Run, error) {
	for _, r := range testRuns() {
		if r.ID == id {
			return r, nil
		}
	}
	return ledger.Run{}, fmt.Errorf("ledger: run %q: %w", id, dg.ErrNotFound)
}
func (f fakeLedger) Runs(_ context.Context, pipeline string, limit int) ([]ledger.Run, error) {
	var out []ledger.Run
	for _, r := range testRuns() {
		if (pipeline == "" || r.Pipeline == pipeline) && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}
func (f fakeLedger) Triggers(context.Context, int) ([]ledger.TriggerRecord, error) {
	at := testNow.Add(-6 * 24 * time.Hour)
	return []ledger.TriggerRecord{
		{Trigger: dg.Trigger{ID: "t3", Source: dg.FromPerson, Model: "garments", Reason: "new spring collection", At: testNow.Add(-40 * time.Second)}, Decision: dg.Accepted, RunID: "retrain-garments-8f2c1a", Deliveries: 1},
		{Trigger: dg.Trigger{ID: "t2", Source: dg.FromAlertmanager, Model: "garments", Reason: "ProductionAccuracyBelowReference: at most 82.0% over the last day", At: at.Add(time.Minute), Since: at.Add(-30 * time.Hour)}, Decision: dg.Joined, IncidentID: "i1", Note: "the incident has its run already", Deliveries: 7, HeardAt: at.Add(6 * time.Hour)},
		{Trigger: dg.Trigger{ID: "t1", Source: dg.FromAlarm, Model: "garments", Reason: "accuracy has fallen below 85.0%", At: at, Since: at.Add(-26 * time.Hour)}, Decision: dg.Accepted, RunID: knownRun, IncidentID: "i1", Deliveries: 1},
	}, nil
}
func (f fakeLedger) Events(_ context.Context, iv dg.Interval) ([]ledger.Event, error) {
	at := testNow.Add(-6 * 24 * time.Hour)
	var in []ledger.Event
	for _, e := range []ledger.Event{{At: at.Add(-3 * 24 * time.Hour), Kind: "drift_begin", Text: "rotation 25°"}, {At: at.Add(-time.Hour), Kind: "alarm_firing", Model: "garments", ModelVersion: oldRef.Short(), Text: "evidence of 14 years"},
		{At: at, Kind: "promotion", Model: "garments", ModelVersion: champRef.Short(), Text: "+6.7 points on 412 held-out labels"}, {At: at.Add(time.Hour), Kind: "alarm_resolved", Model: "garments", ModelVersion: oldRef.Short(), Text: "a new champion"}} {
		if iv.Contains(e.At) {
			in = append(in, e)
		}
	}
	return in, nil
}

type fakePipelines struct{ *fake }

func (f fakePipelines) Start(_ context.Context, p string) (string, error) {
	if p == "nonsense" {
		return "", fmt.Errorf("pipeline %q: %w", p, dg.ErrInvalid)
	}
	return p + "-manual-1", nil
}
func (f fakePipelines) Train(context.Context, TrainRequest) (string, error) { return "train-1", f.err }
func (f fakePipelines) Cancel(_ context.Context, id string) error {
	f.fake.cancelled = id
	if _, err := (fakeLedger{f.fake}).Run(nil, id); err != nil {
		return err
	}
	return nil
}
func (f fakePipelines) Backfill(_ context.Context, p string, iv dg.Interval) ([]string, error) {
	ivs, err := iv.Split(time.Hour)
	var ids []string
	for _, i := range ivs {
		ids = append(ids, p+"-"+i.Start.Format(time.RFC3339))
	}
	return ids, err
}

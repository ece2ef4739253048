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
	"driftgate/internal/rollout"
	"driftgate/internal/serving"
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
	tried     dg.Exposure
	rejected  []string
	verdict   dg.Verdict    // of studies
	evalErr   error         // of the evaluator
	evalWait  chan struct{} // the evaluator's answers wait until it is closed
	cancelled string
	predicted int
	block     chan struct{}
	panics    bool
}

func newFake() *fake {
	return &fake{verdict: dg.Promote, decision: dg.Accepted, state: estimate.Quiet, corrected: map[string]string{}, labels: map[string]string{}}
}

func (f *fake) deps() Deps {
	return Deps{
		Serving: f, Labelling: fakeLabels{f}, Models: fakeModels{f}, Accuracy: fakeAccuracy{f}, Ledger: fakeLedger{f}, Inbox: f, Pipelines: fakePipelines{f},
		Rollout: func(context.Context) (rollout.Status, error) {
			return rollout.Status{Exposure: f.tried, Subject: champRef, Against: oldRef, Decision: rollout.Decision{Why: "the fresh champion is watched"},
				Evidence: rollout.Evidence{Slots: 3, Pairs: 214, Difference: .012, Lower: -.02, Upper: .04, Worse: 2.4, Better: .3, Threshold: 20}}, nil
		},
		Compare: func(_ context.Context, a, b dg.ModelRef) (dg.Comparison, error) {
			return testComparison(a, b), nil
		},
		Evaluation: f.evaluation(),
		Ingest: func(context.Context, IngestRequest) (any, error) {
			return map[string]any{"dataset": "synthetic@0123456789ab"}, nil
		},
		Rebuild: func(context.Context) (any, error) { return map[string]any{"entered": 7}, nil },
		Check:   func(context.Context) (any, error) { return map[string]any{"ok": true}, nil },
		Reload:  func(context.Context) (any, error) { return map[string]any{"changed": []string{"log.level"}}, nil },
	}
}

func testComparison(a, b dg.ModelRef) dg.Comparison {
	return dg.Comparison{Champion: a, Challenger: b, Pairs: 412, BothRight: 290, OnlyChampion: 14, OnlyChallenger: 61, BothWrong: 47, PValue: 0.00041,
		Difference: 0.067, Lower: 0.031, Upper: 0.104, ChampionAccuracy: 0.781, ChallengerAccuracy: 0.848, Verdict: dg.Promote,
		Reasons: []string{"the weighted difference is above zero with 95% certainty: +6.7 points, +3.1 to +10.4", "412 held-out pairs, at least 200 are needed"}}
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
	f.mu.Lock()
	defer f.mu.Unlock()
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
func (f fakeLabels) Skip(ctx context.Context, _, id string) error {
	return f.Answer(ctx, "", id, "skipped")
}
func (f fakeLabels) Undo(context.Context, string) (labelling.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := testTask(0)
	delete(f.labels, t.ID)
	return t, f.err
}
func (f fakeLabels) Withdraw(ctx context.Context, id string) error {
	return f.Answer(ctx, "", id, "withdrawn")
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
	return registry.Entry{Ref: ref, Role: role, SavedAt: at, Manifest: network.Manifest{Dataset: "synthetic@9c2f0e6b1d44", Parent: parent, Spec: network.CNN(network.Size{Height: 28, Width: 28, Channels: 1}, network.CNNOptions{}, 10),
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
func (f fakeModels) History(ctx context.Context) ([]dg.Champion, error) {
	if f.noModels {
		return nil, nil
	}
	c, _ := f.Champion(ctx)
	return []dg.Champion{{Model: "garments", Version: oldRef, Generation: 1, PromotedAt: testNow.Add(-20 * 24 * time.Hour), Reason: "first"}, c}, nil
}
func (f fakeModels) Champion(context.Context) (dg.Champion, error) {
	if f.noModels {
		return dg.Champion{}, fmt.Errorf("registry: champion: %w", dg.ErrNotFound)
	}
	return dg.Champion{Model: "garments", Version: champRef, Previous: oldRef, Generation: 2, PromotedAt: testNow.Add(-6 * 24 * time.Hour), Reason: "gate: +6.7 points on 412 held-out labels", RunID: knownRun}, nil
}
func (f fakeModels) Try(_ context.Context, ref dg.ModelRef, stage dg.Stage, share float64, reason string) (dg.Exposure, error) {
	f.tried = dg.Exposure{Model: "garments", Challenger: ref, Against: champRef, Stage: stage, Share: share, Step: dg.ByHand, Reason: reason}
	return f.tried, nil
}
func (f fakeModels) Reject(_ context.Context, ref dg.ModelRef, reason string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fake.rejected = append(f.fake.rejected, ref.Short()+" "+reason)
	return nil
}
func (f fakeModels) EndTrial(_ context.Context, reason string) (dg.Exposure, error) {
	if f.tried.Challenger == "" {
		return dg.Exposure{}, fmt.Errorf("nothing is exposed: %w", dg.ErrRefused)
	}
	f.tried = dg.Exposure{Model: "garments", Reason: reason}
	return f.tried, nil
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
	f.promoted = ref
	return dg.Champion{Model: "garments", Version: ref, Previous: seen.Version, Generation: seen.Generation + 1, Reason: reason}, f.err
}
func (f fakeModels) Rollback(context.Context, dg.Champion, string) (dg.Champion, error) {
	if f.noModels {
		return dg.Champion{}, fmt.Errorf("registry: rollback: nothing served before: %w", dg.ErrRefused)
	}
	return dg.Champion{Version: oldRef, Generation: 3}, nil
}

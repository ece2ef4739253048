package evaluator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

var classes = dg.Classes{"Bag", "Coat"}

// reader is a model that reads its answer off one pixel of a 2x2 image: white
// is Coat. So an image can say what each model answers.
func reader(t *testing.T, pixel int, trainedOn ...string) *network.Artifact {
	t.Helper()
	s := network.MLP(network.Flat(4), nil, 2)
	weights := make([]float32, 8)
	weights[pixel], weights[4+pixel] = -5, 5
	a := &network.Artifact{
		Manifest: network.Manifest{
			Model: "garments", Spec: s, Classes: classes,
			Preprocessing: dataset.Preprocessing{Width: 2, Height: 2, Channels: 1, Resize: dataset.ResizeStretch, Mean: []float32{.5}, Std: []float32{.5}},
			Calibration:   network.Calibration{Temperature: 1}, TrainedOn: trainedOn,
		},
		Weights: network.Weights{{Name: "layers.0.weight", Shape: []int{2, 4}, Data: weights}, {Name: "layers.0.bias", Shape: []int{2}, Data: []float32{0, 0}}},
	}
	if err := a.RecordSelfTest([][]byte{{0, 0, 0, 0}, {255, 255, 255, 255}}); err != nil {
		t.Fatal(err)
	}
	return a
}

const championPixel, challengerPixel = 0, 3

// picture makes the image on which the models give these answers.
func picture(t *testing.T, champion, challenger string) []byte {
	t.Helper()
	px := make([]byte, 4)
	for pixel, label := range map[int]string{championPixel: champion, challengerPixel: challenger} {
		if label == "Coat" {
			px[pixel] = 255
		}
	}
	b, err := dataset.EncodePNG(px, 2, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cabinet holds models by their refs.
type cabinet map[dg.ModelRef]*network.Artifact

func (c cabinet) Load(_ context.Context, ref dg.ModelRef) (*network.Artifact, error) {
	if a := c[ref]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("load %s: %w", ref, dg.ErrNotFound)
}

func (c cabinet) History(context.Context) ([]dg.Champion, error) { return nil, nil }

const refA, refB = dg.ModelRef("sha256:aa"), dg.ModelRef("sha256:bb")

// shelf is a clean bucket in memory.
type shelf struct {
	mu      sync.Mutex
	objects map[string][]byte
	fails   map[string]error
}

func (s *shelf) Get(_ context.Context, bucket, key string) ([]byte, objstore.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fails[key]; err != nil {
		return nil, objstore.Object{}, err
	}
	b, ok := s.objects[bucket+"/"+key]
	if !ok {
		return nil, objstore.Object{}, fmt.Errorf("get %s/%s: %w", bucket, key, dg.ErrNotFound)
	}
	return b, objstore.Object{Key: key}, nil
}

func (s *shelf) List(_ context.Context, bucket, prefix string, _ bool) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		s.mu.Lock()
		keys := slices.Sorted(maps.Keys(s.objects))
		s.mu.Unlock()
		for _, key := range keys {
			if k, ok := strings.CutPrefix(key, bucket+"/"); ok && strings.HasPrefix(k, prefix) {
				if !yield(objstore.Object{Key: k, ETag: fmt.Sprint(len(s.objects[key]))}, nil) {
					return
				}
			}
		}
	}
}

var (
	buckets = objstore.DefaultBuckets("")
	day     = dg.Interval{Start: noon, End: noon.Add(24 * time.Hour)}
)

// given is one labelled sample and what the models say of it.
type given struct {
	id                          string
	stratum                     dg.Stratum
	label, champion, challenger string
}

// fill enters predictions of the two strata in one curate interval, labels the
// given samples, and puts their images into the clean bucket.
func fill(t *testing.T, l *ledger.Ledger, put func(key string, body []byte), random, low int, labelled []given) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var samples []dg.Sample
	var decisions []ledger.Decision
	add := func(id string, stratum dg.Stratum, predicted string, selected bool) {
		confidence, fraction := .95, .25
		if stratum == dg.LowConfidence {
			confidence, fraction = .4, 1
		}
		samples = append(samples, dg.Sample{Key: dg.SampleKey(max(0, classes.Index(predicted)), id), PredictedClass: predicted, Confidence: confidence,
			Timestamp: noon.Add(time.Duration(len(samples)) * time.Second), ModelVersion: "aaaaaaaaaaaa"})
		decisions = append(decisions, ledger.Decision{ID: id, Stratum: stratum, SamplingFraction: fraction, Interval: noon, Selected: selected})
	}
	left := map[dg.Stratum]int{dg.Random: random, dg.LowConfidence: low}
	for _, g := range labelled {
		add(g.id, g.stratum, g.champion, true)
		left[g.stratum]--
	}
	for stratum, n := range left {
		for i := range n {
			add(fmt.Sprintf("rest-%s-%d.png", stratum, i), stratum, "Bag", false)
		}
	}
	check(l.Captured(ctx, samples...))
	check(l.Decide(ctx, decisions))
	for _, g := range labelled {
		check(l.Placed(ctx, g.id))
		a := ledger.Answer{ID: g.id, Label: g.label, Annotator: "ann", At: noon.Add(time.Hour)}
		check(l.Answer(ctx, a))
		check(l.Collected(ctx, a))
		if class := classes.Index(g.label); class >= 0 {
			put(dg.SampleKey(class, g.id), picture(t, g.champion, g.challenger))
		}
	}
}

func openLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// usual is 120 random picks of 960 and 40 low-confident ones of 40: the
// challenger wins 24 and 20 of them, and loses 3 random ones.
func usual() (out []given) {
	for i := range 120 {
		g := given{fmt.Sprintf("r%03d.png", i), dg.Random, "Bag", "Bag", "Bag"}
		switch {
		case i < 24:
			g.champion = "Coat"
		case i < 27:
			g.challenger = "Coat"
		}
		out = append(out, g)
	}
	for i := range 40 {
		g := given{fmt.Sprintf("l%03d.png", i), dg.LowConfidence, "Coat", "Coat", "Coat"}
		if i < 20 {
			g.champion = "Bag"
		}
		out = append(out, g)
	}
	return out
}

func TestJudgeWithRealParts(t *testing.T) {
	ctx := t.Context()
	srv, err := embedded.Start(ctx, embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatalf("the embedded store: %v", err)
	}
	t.Cleanup(func() { srv.Close() })
	access, secret := srv.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: srv.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.EnsureBuckets(ctx, buckets.All()...); err != nil {
		t.Fatal(err)
	}
	l := openLedger(t)
	fill(t, l, func(key string, body []byte) {
		if _, err := store.Put(ctx, buckets.Clean, key, body, objstore.PutOptions{ContentType: "image/png"}); err != nil {
			t.Fatal(err)
		}
	}, 960, 40, usual())

	models := cabinet{refA: reader(t, championPixel), refB: reader(t, challengerPixel)}
	e := New(Sources{Images: store, Labels: l, Models: models, Predictions: l, Buckets: buckets}, Options{})
	if n, err := e.Pairs(ctx, refA, refB, day); n != 160 || err != nil {
		t.Errorf("Pairs = %d, %v, want 160", n, err)
	}
	c, err := e.Judge(ctx, refA, refB, day)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if c.Verdict != dg.Promote || c.Pairs != 160 || c.OnlyChallenger != 44 || c.OnlyChampion != 3 || c.BothRight != 113 || c.BothWrong != 0 {
		t.Errorf("%+v", c)
	}
	if want := .96*21/120 + .04*.5; c.Difference < want-1e-12 || c.Difference > want+1e-12 {
		t.Errorf("difference %g, want %g", c.Difference, want)
	}
	if c.Champion != "sha256:aa" || c.Challenger != "sha256:bb" {
		t.Errorf("names %s, %s", c.Champion, c.Challenger)
	}
	swapped, err := e.Judge(ctx, refB, refA, day)
	if err != nil || swapped.Verdict != dg.Reject || swapped.OnlyChampion != 44 {
		t.Errorf("swapped: %+v, %v", swapped, err)
	}
}

func TestJudgeTheHeldOut(t *testing.T) {
	trained := func(prefix string, from, to int) (ids []string) {
		for i := from; i < to; i++ {
			ids = append(ids, fmt.Sprintf("%s%03d.png", prefix, i))
		}
		return ids
	}
	full := &shelf{objects: map[string][]byte{}}
	l := openLedger(t)
	stranger := given{"x.png", dg.Random, "Umbrella", "Bag", "Bag"}
	fill(t, l, func(key string, body []byte) { full.objects[buckets.Clean+"/"+key] = body }, 960, 40, append(usual(), stranger))
	unavailable := errors.New("connection refused")
	for _, tt := range []struct {
		name                 string
		champion, challenger []string // ids trained on
		spoil                func(s *shelf)
		o                    Options
		pairs                int
		verdict              dg.Verdict
		says                 string
		err                  error
	}{
		{name: "what neither has seen is judged", pairs: 160, verdict: dg.Promote, says: "better by"},
		{name: "what the champion was trained on is not", champion: trained("r", 40, 60), pairs: 140, verdict: dg.Promote, says: "better by"},
		{name: "nor what the challenger was trained on", challenger: trained("l", 0, 40), pairs: 120, verdict: dg.Promote, says: "of which no pair is held out"},
		{name: "when both have seen all, nothing is judged", champion: trained("r", 0, 120), challenger: trained("l", 0, 40), verdict: dg.Inconclusive, says: "no labelled sample"},
		{name: "a broken image is left out and named", spoil: func(s *shelf) { s.objects[buckets.Clean+"/class_00/r110.png"] = []byte("not an image") }, pairs: 159, verdict: dg.Promote, says: "class_00/r110.png"},
		{name: "a missing image too", spoil: func(s *shelf) { delete(s.objects, buckets.Clean+"/class_00/r111.png") }, pairs: 159, verdict: dg.Promote, says: "1 held-out samples were left out"},
		{name: "many missing images promote nothing", spoil: func(s *shelf) {
			for i := range 20 {
				delete(s.objects, buckets.Clean+"/"+dg.SampleKey(0, fmt.Sprintf("r%03d.png", 60+i)))
			}
		}, pairs: 140, verdict: dg.Errored, says: "have no answer"},
		{name: "a label outside the class list is reported", pairs: 160, verdict: dg.Promote, says: "1 labelled samples were left out"},
		{name: "a store that does not answer is an error, not a verdict", spoil: func(s *shelf) { s.fails = map[string]error{"class_00/r050.png": unavailable} }, err: unavailable},
		{name: "at most MaxPairs are judged", o: Options{Gate: Gate{MinPairs: 50}, MaxPairs: 60}, pairs: 60, verdict: dg.Promote, says: "over 60 held-out pairs"},
		{name: "faulty options are refused", o: Options{Gate: Gate{Margin: 5}}, err: dg.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &shelf{objects: maps.Clone(full.objects)}
			if tt.spoil != nil {
				tt.spoil(s)
			}
			models := cabinet{refA: reader(t, championPixel, tt.champion...), refB: reader(t, challengerPixel, tt.challenger...)}
			c, err := New(Sources{Images: s, Labels: l, Models: models, Buckets: buckets}, tt.o).Judge(t.Context(), refA, refB, day)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if c.Pairs != tt.pairs || c.Verdict != tt.verdict {
				t.Errorf("%d pairs, %s, want %d, %s: %q", c.Pairs, c.Verdict, tt.pairs, tt.verdict, c.Reasons)
			}
			if all := strings.Join(c.Reasons, "\n"); !strings.Contains(all, tt.says) {
				t.Errorf("reasons %q do not say %q", c.Reasons, tt.says)
			}
		})
	}
}

func TestJudgeRefuses(t *testing.T) {
	models := cabinet{refA: reader(t, championPixel), refB: reader(t, challengerPixel)}
	l := openLedger(t)
	judge := func(ctx context.Context, a, b dg.ModelRef) (dg.Comparison, error) {
		return New(Sources{Images: &shelf{}, Labels: l, Models: models, Buckets: buckets}, Options{}).Judge(ctx, a, b, day)
	}
	if _, err := judge(t.Context(), refA, refA); !errors.Is(err, dg.ErrRefused) {
		t.Errorf("a model against itself: %v, want ErrRefused", err)
	}
	if _, err := judge(t.Context(), refA, "sha256:cc"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("a model that is not there: %v, want ErrNotFound", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := judge(ctx, refA, refB); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	models[refB].Manifest.Classes = dg.Classes{"Coat", "Bag"}
	c, err := judge(t.Context(), refA, refB)
	if err != nil || c.Verdict != dg.Errored || len(c.Reasons) != 1 || !strings.Contains(c.Reasons[0], "want the same list") || c.Challenger != refB {
		t.Errorf("models of other classes: %+v, %v, want the verdict error with the reason", c, err)
	}
	e := New(Sources{Images: &shelf{}, Labels: l, Models: models, Buckets: buckets}, Options{})
	if _, err := e.Pairs(t.Context(), refA, refB, day); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("pairs of models of other classes: %v, want ErrInvalid", err)
	}
}

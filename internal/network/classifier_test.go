package network

import (
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
)

// artifact makes a valid, untrained artifact for 28x28 garments.
func artifact(t testing.TB, hidden ...int) *Artifact {
	t.Helper()
	rng := rand.New(rand.NewPCG(11, 12))
	p := dataset.GarmentPreprocessing()
	s := MLP(Size{p.Height, p.Width, p.Channels}, hidden, len(dg.FashionMNIST))
	a := &Artifact{
		Manifest: Manifest{
			Model: "garments", Spec: s, Classes: dg.FashionMNIST, Preprocessing: p,
			Dataset: "synthetic@0123456789ab", TrainedOn: []string{"train/00001", "a.png"},
			Counts: map[string]int{"base": 1, "human": 1}, Metrics: map[string]float64{"test_accuracy": 0.5},
			Calibration: Calibration{Temperature: 1.3, ECEBefore: 0.1, ECEAfter: 0.05},
			StartedAt:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), FinishedAt: time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC),
			Seed: 1, GoVersion: "go0.0",
		},
		Weights: NewWeights(s, rng),
	}
	var images [][]byte
	for class := range 4 {
		images = append(images, dataset.Garment(class, dataset.Drift{}, rng))
	}
	if err := a.RecordSelfTest(images); err != nil {
		t.Fatal(err)
	}
	return a
}

func classifier(t testing.TB, a *Artifact) *Classifier {
	t.Helper()
	c, err := NewClassifier(a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestASampleGetsTheSameBitsAloneInABatchAndConcurrently(t *testing.T) {
	c := classifier(t, artifact(t, 128, 64))
	rng := rand.New(rand.NewPCG(2, 2))
	const n = 301 // enough work for several goroutines, and an odd share for each
	x := make([]float32, n*784)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	all, err := c.Probabilities(x)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := g; i < n; i += 4 {
				one, err := c.Probabilities(x[i*784 : (i+1)*784])
				if err != nil || !slices.Equal(one, all[i*10:(i+1)*10]) {
					t.Errorf("sample %d: %v alone, %v in a batch (%v)", i, one, all[i*10:(i+1)*10], err)
				}
			}
		})
	}
	wg.Wait()
	for i := range n {
		var sum float64
		for _, p := range all[i*10 : (i+1)*10] {
			sum += float64(p)
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Errorf("sample %d: probabilities add up to %v", i, sum)
		}
	}
}

func TestPredictEqualsPixels(t *testing.T) {
	c := classifier(t, artifact(t, 16))
	px := dataset.Garment(3, dataset.Drift{}, rand.New(rand.NewPCG(1, 1)))
	img := &image.Gray{Pix: px, Stride: 28, Rect: image.Rect(0, 0, 28, 28)}
	a, err1 := c.Pixels(px)
	b, err2 := c.Predict(img)
	if err1 != nil || err2 != nil || !slices.Equal(a, b) {
		t.Errorf("Pixels %v (%v), Predict %v (%v)", a, err1, b, err2)
	}
}

func TestFeaturesAreWhatTheLastLayerSees(t *testing.T) {
	px := dataset.Garment(3, dataset.Drift{}, rand.New(rand.NewPCG(1, 1)))
	img := &image.Gray{Pix: px, Stride: 28, Rect: image.Rect(0, 0, 28, 28)}
	for _, hidden := range [][]int{nil, {16}, {128, 64}, {33, 7, 19}} {
		a := artifact(t, hidden...)
		c := classifier(t, a)
		want, err := c.Predict(img)
		if err != nil {
			t.Fatal(err)
		}
		got, features, err := c.PredictFeatures(img)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("hidden %v: %v with features, %v without (%v)", hidden, got, want, err)
		}
		width := 784
		if len(hidden) > 0 {
			width = hidden[len(hidden)-1]
		}
		if len(features) != width || c.Features() != width {
			t.Fatalf("hidden %v: %d features, said %d, want %d", hidden, len(features), c.Features(), width)
		}
		last := a.Weights[len(a.Weights)-2:] // the last layer by hand gives the same answer
		logits := make([]float32, len(want))
		for o := range logits {
			sum := float64(last[1].Data[o])
			for i, f := range features {
				sum += float64(last[0].Data[o*width+i]) * float64(f)
			}
			logits[o] = float32(sum)
		}
		softmax(logits, len(logits), a.Manifest.Calibration.Temperature)
		for o, p := range want {
			if math.Abs(float64(logits[o]-p)) > 1e-5 {
				t.Errorf("hidden %v: class %d has %v by its features, %v by the model", hidden, o, logits[o], p)
			}
		}
		if len(hidden) > 0 && slices.Min(features) < 0 {
			t.Errorf("hidden %v: a feature of %v passed the ReLU", hidden, slices.Min(features))
		}
	}
}

func TestClassifierRefusesWhatItCannotAnswer(t *testing.T) {
	c := classifier(t, artifact(t, 16))
	if _, err := c.Probabilities(make([]float32, 783)); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("783 values: %v, want ErrInvalid", err)
	}
	x := make([]float32, 784)
	x[5] = float32(math.Inf(1))
	if _, err := c.Probabilities(x); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("an infinite input: %v, want ErrInvalid", err)
	}
	if p, err := c.Probabilities(nil); err != nil || len(p) != 0 {
		t.Errorf("no rows: %v, %v", p, err)
	}
}

func TestSelfTestCatchesOneWrongWeight(t *testing.T) {
	a := artifact(t, 16)
	a.Weights[3].Data[0] += 0.5 // one bias of the last layer
	if _, err := NewClassifier(a); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}

func TestTemperatureChangesConfidenceNotTheAnswer(t *testing.T) {
	logits := []float32{2, 1, -1}
	hot, cold := slices.Clone(logits), slices.Clone(logits)
	softmax(hot, 3, 5)
	softmax(cold, 3, 0.5)
	if Argmax(hot) != 0 || Argmax(cold) != 0 || hot[0] >= cold[0] {
		t.Errorf("at 5: %v, at 0.5: %v", hot, cold)
	}
	far := []float32{1e4, -1e4, 0}
	softmax(far, 3, 0.05)
	if far[0] != 1 || far[1] != 0 {
		t.Errorf("logits far apart give %v", far)
	}
}

func TestFitTemperatureFindsTheOneThatMadeTheLabels(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for _, want := range []float64{0.5, 1, 2.5} {
		const n, classes = 20000, 5
		logits, labels := make([]float32, n*classes), make([]int, n)
		for i := range labels {
			row := logits[i*classes:][:classes]
			for j := range row {
				row[j] = float32(rng.NormFloat64() * 3)
			}
			p := slices.Clone(row)
			softmax(p, classes, want)
			u := rng.Float64()
			for j, q := range p {
				if u -= float64(q); u < 0 || j == classes-1 {
					labels[i] = j
					break
				}
			}
		}
		c, err := FitTemperature(logits, labels, classes)
		if err != nil || math.Abs(c.Temperature/want-1) > 0.05 {
			t.Errorf("labels drawn at temperature %v: fitted %+v, %v", want, c, err)
		}
		if c.ECEAfter > 0.015 || (want != 1 && c.ECEAfter > c.ECEBefore/2) {
			t.Errorf("temperature %v: calibration error %.4f before, %.4f after", want, c.ECEBefore, c.ECEAfter)
		}
	}
	if _, err := FitTemperature(nil, nil, 3); !errors.Is(err, dg.ErrTooFewSamples) {
		t.Errorf("no rows: %v, want ErrTooFewSamples", err)
	}
}

func TestCalibrationErrorByHand(t *testing.T) {
	// Two samples at confidence 0.75 (odds 3:1), one right: |0.75 - 0.5| = 0.25.
	l := float32(math.Log(3))
	if got := CalibrationError([]float32{l, 0, l, 0}, []int{0, 1}, 2, 1); math.Abs(got-0.25) > 1e-6 {
		t.Errorf("calibration error %v, want 0.25", got)
	}
}

func BenchmarkPredictOne(b *testing.B) {
	c := classifier(b, artifact(b, 128, 64))
	px := dataset.Garment(3, dataset.Drift{}, rand.New(rand.NewPCG(1, 1)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Pixels(px); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPredictImage(b *testing.B) {
	c := classifier(b, artifact(b, 128, 64))
	px := dataset.Garment(3, dataset.Drift{}, rand.New(rand.NewPCG(1, 1)))
	img := &image.Gray{Pix: px, Stride: 28, Rect: image.Rect(0, 0, 28, 28)}
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Predict(img); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("features", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := c.PredictFeatures(img); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPredictBatch(b *testing.B) {
	c := classifier(b, artifact(b, 128, 64))
	x := make([]float32, 1000*784)
	for b.Loop() {
		if _, err := c.Probabilities(x); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "samples/s")
}

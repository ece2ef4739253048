package serving

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	_ "image/jpeg" // the headers of uploads are read before room is made for them
	_ "image/png"
	"math"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/telemetry"
)

// topRanked is how many classes a prediction lists.
const topRanked = 5

// Ranked is one class of a prediction.
type Ranked struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"` // 0 to 1, rounded to three decimals
}

// Prediction is the answer to one upload.
type Prediction struct {
	Key          string   `json:"key"` // in the production bucket; what Flag and Correct ask for
	Label        string   `json:"label"`
	Probability  float64  `json:"probability"` // of Label, 0 to 1, rounded to three decimals as its tag
	ModelVersion string   `json:"model_version"`
	Top          []Ranked `json:"top"` // at most five, the likeliest first
}

// Predict classifies an upload and captures it: when the error is nil, image
// and prediction are durable. filename gives no more than the extension.
//
// The error is [driftgate.ErrInvalid] for what is no image or beyond the
// limits, [driftgate.ErrFull] when the spool is, [driftgate.ErrIncomplete]
// before the first model is loaded.
func (s *Service) Predict(ctx context.Context, upload []byte, filename string) (_ Prediction, err error) {
	ctx, span := telemetry.Start(ctx, "predict")
	defer func() { span.Done(err) }()
	start := time.Now()
	m := s.model.Load()
	if m == nil {
		return Prediction{}, fmt.Errorf("serving: predict: no model is loaded: %w", dg.ErrIncomplete)
	}
	at := s.o.Now().UTC().Truncate(time.Second)
	c := s.beside(m)
	a, body, err := s.classify(ctx, m, c, upload)
	if err != nil {
		return Prediction{}, fmt.Errorf("serving: predict: %w", err)
	}
	m = a.model
	best := a.order[0]
	p := Prediction{
		Key:          dg.SampleKey(best, newUUID()+extension(filename)),
		Label:        m.classes[best],
		Probability:  dg.RoundConfidence(float64(a.probabilities[best])),
		ModelVersion: m.ref.Short(),
	}
	for _, i := range a.order[:min(topRanked, len(a.order))] {
		p.Top = append(p.Top, Ranked{m.classes[i], dg.RoundConfidence(float64(a.probabilities[i]))})
	}
	span.SetString("driftgate.key", p.Key)
	span.SetString("driftgate.model_version", p.ModelVersion)
	sample := dg.Sample{Key: p.Key, PredictedClass: p.Label, Confidence: p.Probability, Timestamp: at, ModelVersion: p.ModelVersion}
	_, stage := telemetry.Start(ctx, "spool")
	err = s.spool.add(record{Key: p.Key, ContentType: contentType(p.Key), Tags: sample.Tags(), Trace: telemetry.Traceparent(ctx), Body: body})
	stage.Done(err)
	if err != nil {
		return Prediction{}, fmt.Errorf("serving: predict: %w", err)
	}
	s.features.add(p.ModelVersion, at, m.sketch, a.seen)
	s.metrics.predicted(sample, time.Since(start))
	s.shadow(c, best, body)
	return p, nil
}

// answer is what a model says of an image.
type answer struct {
	model         *model
	probabilities []float32
	order         []int     // the classes, the likeliest first
	seen          []float32 // by the penultimate layer
}

// answer classifies one image.
func (m *model) answer(img image.Image) (answer, error) {
	probabilities, seen, err := m.predict(img)
	if err != nil {
		return answer{}, err
	}
	order, err := rank(probabilities, m.classes)
	return answer{m, probabilities, order, seen}, err
}

// classify decodes within the limits and returns the answer, of the canary if
// the upload falls into its share, and the image as it is to be stored.
func (s *Service) classify(ctx context.Context, m *model, c *challenger, upload []byte) (a answer, body []byte, err error) {
	if limit := cmp.Or(s.o.Limits.MaxBytes, dataset.DefaultLimits.MaxBytes); int64(len(upload)) > limit {
		return answer{}, nil, fmt.Errorf("image of %d bytes: want at most %d: %w", len(upload), limit, dg.ErrInvalid)
	}
	room := min(s.o.DecodeBytes, decodedBytes(upload))
	_, stage := telemetry.Start(ctx, "decode") // the wait for memory is part of it
	if err := s.decode.Acquire(ctx, room); err != nil {
		stage.Done(err)
		return answer{}, nil, fmt.Errorf("wait for memory to decode: %w", err)
	}
	defer s.decode.Release(room)
	img, format, err := dataset.Decode(upload, s.o.Limits)
	stage.SetInt("driftgate.upload_bytes", len(upload))
	stage.Done(err)
	if err != nil {
		return answer{}, nil, err
	}
	_, stage = telemetry.Start(ctx, "infer")
	a, ok := s.canary(c, img, upload)
	if !ok {
		a, err = m.answer(img)
	}
	stage.Done(err)
	if err != nil {
		return answer{}, nil, err
	}
	body, err = dataset.StripMetadata(upload, format)
	return a, body, err
}

// decodedBytes is about what an upload takes in memory, by its header.
func decodedBytes(upload []byte) int64 {
	const least, perPixel, most = 64 << 10, 4, 1 << 40
	c, _, err := image.DecodeConfig(bytes.NewReader(upload))
	if err != nil {
		return least // Decode will refuse it
	}
	return max(least, min(most, int64(c.Width)*int64(c.Height)*perPixel))
}

// rank orders the classes by probability, the likeliest first; equals keep the
// order of the classes.
func rank(p []float32, classes dg.Classes) ([]int, error) {
	if len(p) != len(classes) || len(p) == 0 {
		return nil, fmt.Errorf("the model gives %d probabilities for %d classes", len(p), len(classes))
	}
	order := make([]int, len(p))
	for i, x := range p {
		if math.IsNaN(float64(x)) || x < 0 || x > 1.0001 { // the margin is float32 rounding
			return nil, fmt.Errorf("the model gives %v for %s, want 0 to 1", x, classes[i])
		}
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[b], p[a]) })
	return order, nil
}

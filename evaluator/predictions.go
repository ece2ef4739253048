package evaluator

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Predictions is where answers are kept, so that comparing versions needs no
// image: a cache, which may forget.
type Predictions interface {
	// Predictions streams what a version answered on a suite.
	Predictions(ctx context.Context, version dg.ModelRef, suite string) iter.Seq2[ledger.Prediction, error]
	// SavePredictions keeps answers; later ones replace earlier ones.
	SavePredictions(ctx context.Context, version dg.ModelRef, suite string, at time.Time, ps []ledger.Prediction) error
	// SuiteImages streams what is known of a suite's images.
	SuiteImages(ctx context.Context, suite string) iter.Seq2[ledger.SuiteImage, error]
	// SaveSuiteImages keeps what is known of images.
	SaveSuiteImages(ctx context.Context, suite string, images []ledger.SuiteImage) error
	// PrunePredictions forgets the oldest sets beyond the most that is kept.
	PrunePredictions(ctx context.Context, most int64) error
}

const (
	keptPredictions = 5_000_000 // rows: some 500 MB
	savedAtOnce     = 2000      // answers computed between two writes: what a crash loses
)

// answer is a version's answer to one sample.
type answer struct {
	class      int32 // position in the class list; none: -1
	confidence float32
}

const none = -1

// sheet is what versions answered on a suite.
type sheet struct {
	suite
	classes dg.Classes
	answers [][]answer          // version x sample
	images  []ledger.SuiteImage // a sample each; without a width: nothing is known
	faults  []error             // of images that could not be read, the first few
	weights []float64           // predictions that each sample stands for
	cut     []part              // its parts, once they are asked for
}

// maxFaults bounds how many broken images are remembered.
const maxFaults = 8

// fill finds every version's answers: those kept, and the others by looking at
// the images. Images that cannot be read stay without an answer.
func (e *Evaluator) fill(ctx context.Context, s suite, vs []*version) (*sheet, error) {
	sh := &sheet{suite: s, classes: vs[0].Manifest.Classes, answers: make([][]answer, len(vs)), images: make([]ledger.SuiteImage, len(s.samples))}
	for v := range vs {
		sh.answers[v] = slices.Repeat([]answer{{class: none}}, len(s.samples))
	}
	if err := e.recall(ctx, sh, vs); err != nil {
		return nil, err
	}
	var todo []int
	for i := range s.samples {
		if slices.ContainsFunc(sh.answers, func(a []answer) bool { return a[i].class == none }) {
			todo = append(todo, i)
		}
	}
	if err := e.compute(ctx, sh, vs, todo); err != nil {
		return nil, err
	}
	for i := range s.samples {
		if !sh.complete(i) {
			sh.Unreadable++
		}
	}
	sh.Samples = len(s.samples) - sh.Unreadable
	sh.weigh()
	return sh, nil
}

// complete reports whether every version has answered sample i.
func (sh *sheet) complete(i int) bool {
	return !slices.ContainsFunc(sh.answers, func(a []answer) bool { return a[i].class == none })
}

// position finds samples by their id.
func (s suite) position() map[string]int {
	at := make(map[string]int, len(s.samples))
	for i, x := range s.samples {
		at[x.id] = i
	}
	return at
}

// recall reads what is kept.
func (e *Evaluator) recall(ctx context.Context, sh *sheet, vs []*version) error {
	if e.Predictions == nil {
		return nil
	}
	at := sh.position()
	for v, version := range vs {
		for p, err := range e.Predictions.Predictions(ctx, version.ref, sh.key) {
			if err != nil {
				return err
			}
			if i, ok := at[p.ID]; ok && p.Class < len(sh.classes) {
				sh.answers[v][i] = answer{int32(p.Class), float32(p.Confidence)}
			}
		}
	}
	for image, err := range e.Predictions.SuiteImages(ctx, sh.key) {
		if err != nil {
			return err
		}
		if i, ok := at[image.ID]; ok {
			sh.images[i] = image
		}
	}
	return nil
}

// compute answers the samples at todo, some at a time, and keeps the answers.
func (e *Evaluator) compute(ctx context.Context, sh *sheet, vs []*version, todo []int) error {
	if len(todo) == 0 {
		return nil
	}
	see, err := sh.open(ctx)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(todo, savedAtOnce) {
		fresh, err := e.answer(ctx, sh, vs, see, some)
		if err != nil {
			return fmt.Errorf("answers of %s: %w", names(vs), err)
		}
		if err := e.keep(ctx, sh, vs, fresh); err != nil {
			return err
		}
	}
	if e.Predictions == nil || sh.drifted { // drifted ones come together with what they are made of
		return nil
	}
	return e.Predictions.PrunePredictions(ctx, keptPredictions)
}

// keep stores the answers to the samples that were looked at. What is known of
// an image goes first: answers are what says that nothing is left to look at.
func (e *Evaluator) keep(ctx context.Context, sh *sheet, vs []*version, fresh []int) error {
	if e.Predictions == nil {
		return nil
	}
	var images []ledger.SuiteImage
	for _, i := range fresh {
		if !sh.drifted {
			images = append(images, sh.images[i])
		}
	}
	if err := e.Predictions.SaveSuiteImages(ctx, sh.key, images); err != nil {
		return err
	}
	for v, version := range vs {
		ps := make([]ledger.Prediction, 0, len(fresh))
		for _, i := range fresh {
			if a := sh.answers[v][i]; a.class != none {
				ps = append(ps, ledger.Prediction{ID: sh.samples[i].id, Class: int(a.class), Confidence: float64(a.confidence)})
			}
		}
		if err := e.Predictions.SavePredictions(ctx, version.ref, sh.key, e.o.now(), ps); err != nil {
			return err
		}
	}
	return nil
}

// said is the label of a version's answer; empty without one.
func (sh *sheet) said(v, i int) string {
	if c := sh.answers[v][i].class; c != none {
		return sh.classes[c]
	}
	return ""
}

// right reports whether a version's answer to sample i is the truth.
func (sh *sheet) right(v, i int) bool { return sh.said(v, i) == sh.samples[i].label }

// pairs are the samples with the answers of two versions.
func (sh *sheet) pairs(a, b int) []Pair {
	out := make([]Pair, len(sh.samples))
	for i, s := range sh.samples {
		out[i] = Pair{ID: s.id, Stratum: s.stratum, Interval: s.interval, Label: s.label, Champion: sh.said(a, i), Challenger: sh.said(b, i)}
	}
	return out
}

package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	dg "driftgate"
)

// RetrainInput is the input of a retrain run, as the inbox writes it.
type RetrainInput struct {
	Trigger dg.Trigger `json:"trigger"`
	Model   string     `json:"model"`
	Trace   string     `json:"trace,omitempty"` // W3C traceparent of who asked, for the engine
}

// RetrainResult is how a retrain run ended.
type RetrainResult struct {
	Challenger dg.ModelRef   `json:"challenger"`
	Champion   dg.ModelRef   `json:"champion"` // that it was judged against
	Verdict    dg.Verdict    `json:"verdict"`
	Comparison dg.Comparison `json:"comparison"`
	Promoted   bool          `json:"promoted"`
	Note       string        `json:"note"`
}

// Judgement is the verdict, for the run's row.
func (r RetrainResult) Judgement() dg.Verdict { return r.Verdict }

// TrainInput is the input of a train run: a model from a dataset alone.
type TrainInput struct {
	Dataset string          `json:"dataset"`           // reference in the datasets bucket
	Options json.RawMessage `json:"options,omitempty"` // trainer.Options; keys left out keep the configured values
	Promote bool            `json:"promote"`           // make it the first champion; where there is one, it stays
}

// TrainResult is how a train run ended.
type TrainResult struct {
	Model    dg.ModelRef        `json:"model"`
	Metrics  map[string]float64 `json:"metrics"`
	Search   *Searched          `json:"search,omitempty"`
	Promoted bool               `json:"promoted"`
	Note     string             `json:"note"`
}

// Searched is what a search for settings came to; its trials are experiments.
type Searched struct {
	Method   string                     `json:"method"`
	Trials   int                        `json:"trials"`
	Failed   int                        `json:"failed"`
	Epochs   int                        `json:"epochs"`   // of all trials
	Best     int                        `json:"best"`     // the trial that became the model
	Settings map[string]json.RawMessage `json:"settings"` // of that trial
}

// What the steps hand on. None of it is large: sets of samples and models stay
// in the run's folder and in the buckets.
type (
	composed struct {
		Parent dg.ModelRef `json:"parent"`
		Human  int         `json:"human"`
		Proxy  int         `json:"proxy"`
	}
	trained struct {
		Model   dg.ModelRef        `json:"model"`
		Metrics map[string]float64 `json:"metrics"`
		Search  *Searched          `json:"search,omitempty"`
	}
	awaitInput struct {
		Challenger dg.ModelRef `json:"challenger"`
		Since      time.Time   `json:"since,omitzero"`
		From       time.Time   `json:"from"` // from which the wait for pairs is counted
	}
	saved struct {
		Model dg.ModelRef `json:"model"`
		At    time.Time   `json:"at"`
	}
	judged struct {
		Champion   dg.Champion   `json:"champion"`
		ETag       string        `json:"etag"` // of the champion record that was judged against
		Comparison dg.Comparison `json:"comparison"`
	}
	promoteInput struct {
		Challenger dg.ModelRef `json:"challenger"`
		Reason     string      `json:"reason"`
		Champion   dg.Champion `json:"champion"`
		ETag       string      `json:"etag"`

		Comparison dg.Comparison `json:"comparison"` // the evidence
	}
	promoted struct {
		Promoted bool   `json:"promoted"`
		Exposed  bool   `json:"exposed,omitempty"` // it goes through the rollout's stages first
		Note     string `json:"note"`
	}
)

// retrain: gather -> compose -> train -> save -> await -> evaluate -> promote or not.
func retrain(r Run, raw json.RawMessage) (any, error) {
	var in RetrainInput
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("pipeline: retrain input: %w: %w", err, dg.ErrInvalid)
	}
	if err := r.Do("gather", in, nil); err != nil {
		return nil, err
	}
	var set composed
	if err := r.Do("compose", in, &set); err != nil {
		return nil, err
	}
	if err := r.Do("train", nil, nil); err != nil {
		return nil, err
	}
	var s saved
	if err := r.Do("save", nil, &s); err != nil {
		return nil, err
	}
	await := awaitInput{Challenger: s.Model, Since: in.Trigger.Since, From: s.At}
	if err := r.Do("await", await, nil); err != nil {
		return nil, err
	}
	var j judged
	if err := r.Do("evaluate", await, &j); err != nil {
		return nil, err
	}
	result := RetrainResult{Challenger: s.Model, Champion: j.Champion.Version, Verdict: j.Comparison.Verdict, Comparison: j.Comparison}
	switch result.Verdict {
	case dg.Promote:
		var p promoted
		err := r.Do("promote", promoteInput{s.Model, gateReason(j.Comparison), j.Champion, j.ETag, j.Comparison}, &p)
		if err != nil {
			return nil, err
		}
		if result.Promoted, result.Note = p.Promoted, p.Note; !p.Promoted && !p.Exposed {
			result.Verdict = dg.Inconclusive
		}
	case dg.Reject:
		result.Note = "the champion stays: the challenger is not better"
	case dg.Errored:
		result.Note = "the champion stays: the challenger could not be judged; mend what the reasons name and compare again"
	default:
		result.Note = "the champion stays: too little is known; a person may compare and promote"
	}
	if err := r.Do("report", result, nil); err != nil {
		return nil, err
	}
	return result, nil
}

func gateReason(c dg.Comparison) string {
	return fmt.Sprintf("gate: accuracy %+.3f [%+.3f, %+.3f] on %d held-out samples", c.Difference, c.Lower, c.Upper, c.Pairs)
}

// train: prepare -> train -> save -> enthrone, if asked to.
func train(r Run, raw json.RawMessage) (any, error) {
	var in TrainInput
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("pipeline: train input: %w: %w", err, dg.ErrInvalid)
	}
	if in.Dataset == "" {
		return nil, errors.Join(errors.New("pipeline: train: want the reference of a dataset"), dg.ErrInvalid)
	}
	if err := r.Do("prepare", in, nil); err != nil {
		return nil, err
	}
	var t trained
	if err := r.Do("train", nil, &t); err != nil {
		return nil, err
	}
	var s saved
	if err := r.Do("save", nil, &s); err != nil {
		return nil, err
	}
	result := TrainResult{Model: s.Model, Metrics: t.Metrics, Search: t.Search, Note: "saved as a candidate"}
	if in.Promote {
		var p promoted
		if err := r.Do("enthrone", s, &p); err != nil {
			return nil, err
		}
		result.Promoted, result.Note = p.Promoted, p.Note
	}
	if err := r.Do("report", RetrainResult{Challenger: s.Model}, nil); err != nil {
		return nil, err
	}
	return result, nil
}

package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
)

// FormatVersion is the artifact format that this code writes, and the newest
// that it reads. Format 3 describes the network layer by layer; format 2 has
// model.onnx beside the weights and, as format 1, widths of dense layers alone.
// All are read.
const FormatVersion = 3

// Manifest says what a model is and where it came from. It is written once and
// never changed. Every ratio is 0 to 1, every time UTC.
type Manifest struct {
	FormatVersion int    `json:"format_version"`
	Checksum      string `json:"checksum"` // sha256 over all files, with this value's digits as zeros

	Model         string                `json:"model"` // the model's name, the same for all versions
	RunID         string                `json:"run_id,omitempty"`
	Spec          Spec                  `json:"spec"`
	Classes       dg.Classes            `json:"classes"` // in the order of the outputs
	Preprocessing dataset.Preprocessing `json:"preprocessing"`

	Dataset           string         `json:"dataset"`             // reference of the base dataset
	Counts            map[string]int `json:"counts"`              // samples by source: base, human, proxy; skipped; train, validation
	Skipped           []string       `json:"skipped,omitempty"`   // production images that could not be used, with the reason
	ReferenceClassMix []float64      `json:"reference_class_mix"` // share of each class in what it learned from

	Options json.RawMessage `json:"options"` // the trainer's options
	Seed    uint64          `json:"seed"`
	Epochs  int             `json:"epochs"` // epochs run
	Parent  dg.ModelRef     `json:"parent,omitempty"`

	Metrics     map[string]float64 `json:"metrics"` // test_accuracy, validation_accuracy, ...
	Calibration Calibration        `json:"calibration"`
	SelfTest    []SelfTest         `json:"self_test"`

	StartedAt  time.Time         `json:"started_at"`
	FinishedAt time.Time         `json:"finished_at"`
	GoVersion  string            `json:"go_version"`
	Modules    map[string]string `json:"modules,omitempty"` // versions of the modules that did the arithmetic

	Composition *Composition `json:"composition,omitempty"` // what the training set was made from, and how
	Curves      []Epoch      `json:"curves,omitempty"`      // one point an epoch; of many epochs, some hundred evenly spread
	Environment *Environment `json:"environment,omitempty"` // the machine that trained
	Search      *Search      `json:"search,omitempty"`      // how the options were found; nil for options as given

	TrainedOn []string `json:"trained_on"` // ids of every sample used, base and production, for training or validation
}

// Calibration is the temperature by which logits are divided, and how far
// stated confidence was from accuracy on the validation split: the expected
// calibration error over 15 bins (Guo et al., 2017).
type Calibration struct {
	Temperature float64 `json:"temperature"`
	ECEBefore   float64 `json:"ece_before"`
	ECEAfter    float64 `json:"ece_after"`
}

// SelfTest is one input and the answer that the model gave when it was made.
type SelfTest struct {
	Pixels        []byte    `json:"pixels"` // uint8 HWC of the preprocessing's size; base64 in JSON
	Probabilities []float32 `json:"probabilities"`
	Tolerance     float64   `json:"tolerance"` // largest accepted difference of one probability
}

// Bounds on a self-test: more would only slow a swap down, and a loose
// tolerance would test nothing.
const (
	maxSelfTests     = 64
	maxTolerance     = 1e-2
	defaultTolerance = 1e-4 // float32 sums differ by their order and by fused multiply-add, not by more
)

// Validate reports every fault of the manifest; the error is [dg.ErrInvalid].
func (m Manifest) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if err := m.Spec.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := m.Classes.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(m.Classes) != m.Spec.Classes {
		bad("classes: %d labels for %d outputs", len(m.Classes), m.Spec.Classes)
	}
	if err := m.Preprocessing.Validate(); err != nil {
		errs = append(errs, err)
	} else if p, in := m.Preprocessing, m.Spec.Input; !m.Spec.sees(Size{p.Height, p.Width, p.Channels}) {
		bad("preprocessing gives %dx%dx%d, the network's input is %v: want the same", p.Height, p.Width, p.Channels, in)
	}
	if t := m.Calibration.Temperature; !(t >= minTemperature && t <= maxTemperature) {
		bad("calibration: temperature %g: want %v to %v", t, minTemperature, maxTemperature)
	}
	if n := len(m.ReferenceClassMix); n != 0 && n != m.Spec.Classes {
		bad("reference_class_mix: %d shares for %d classes", n, m.Spec.Classes)
	}
	if m.Search != nil {
		if err := m.Search.validate(); err != nil {
			bad("search: %w", err)
		}
	}
	if n := len(m.SelfTest); n < 1 || n > maxSelfTests {
		bad("self_test: %d vectors, want 1 to %d", n, maxSelfTests)
	}
	for i, st := range m.SelfTest {
		if err := st.validate(m.Spec); err != nil {
			bad("self_test[%d]: %w", i, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("network: manifest: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

func (st SelfTest) validate(s Spec) error {
	if len(st.Pixels) != s.Inputs() || len(st.Probabilities) != s.Classes {
		return fmt.Errorf("%d pixels and %d probabilities, want %d and %d", len(st.Pixels), len(st.Probabilities), s.Inputs(), s.Classes)
	}
	if !(st.Tolerance > 0 && st.Tolerance <= maxTolerance) {
		return fmt.Errorf("tolerance %g, want above 0, at most %g", st.Tolerance, maxTolerance)
	}
	var sum float64
	for _, p := range st.Probabilities {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("probability %v, want 0 to 1", p)
		}
		sum += float64(p)
	}
	if math.Abs(sum-1) > 1e-3 {
		return fmt.Errorf("probabilities add up to %g, want 1", sum)
	}
	return nil
}

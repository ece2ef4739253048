package evaluator

import (
	"time"

	dg "driftgate"
)

// Item is one sample of a suite with one version's answer to it, and what is
// known of the image.
type Item struct {
	ID         string
	Stratum    dg.Stratum // why it was picked for labelling; empty in suites where every image weighs alike
	Interval   time.Time  // start of its curate interval
	Label      string     // the truth
	Answer     string     // empty: there is none
	Confidence float64    // of the answer, 0 to 1
	Attributes []Attribute
}

// Attribute is one thing that an image has in common with others: a way to cut
// a suite into slices, and its value for this image.
type Attribute struct{ By, Value string }

// The attributes. Class is the truth; confidence is the answer's, so it differs
// between versions; the others are the image's own.
const (
	ByClass      = "class"
	ByConfidence = "confidence"
	ByBrightness = "brightness" // mean grey of the image
	BySize       = "size"       // of its longer side, in pixels
	BySource     = "source"     // why it was picked for labelling
	ByTime       = "time"       // day of the prediction, UTC
)

// Bounded is a ratio with its two-sided bounds, at 95% by itself unless said
// otherwise, and what it rests on.
type Bounded struct {
	Value   float64 `json:"value"` // 0 to 1, or -1 to 1 for a difference
	Lower   float64 `json:"lower"`
	Upper   float64 `json:"upper"`
	Samples int     `json:"samples"`
}

// Slice is the accuracy of one version on a part of a suite.
type Slice struct {
	By       string  `json:"by"`    // ByClass, ..., or several joined by "+"
	Value    string  `json:"value"` // the class, "0.50-0.60", "dark", ..., joined alike
	Samples  int     `json:"samples"`
	Share    float64 `json:"share"`    // of all predictions that the suite stands for, 0 to 1
	Accuracy Bounded `json:"accuracy"` // of the slice
	Rest     Bounded `json:"rest"`     // of everything else
	PValue   float64 `json:"p_value"`  // that the slice is no worse than the rest
	Adjusted float64 `json:"adjusted"` // the same, corrected for the number of slices looked at
	Weak     bool    `json:"weak"`     // Adjusted is below .05
}

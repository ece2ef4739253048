package driftgate

import "time"

// Estimate is one figure of production accuracy with what is needed to judge
// it. Ratios run 0 to 1.
type Estimate struct {
	Estimator       string  `json:"estimator"` // "stratified", "labelled", ...
	Accuracy        float64 `json:"accuracy"`
	Lower           float64 `json:"lower"` // 95% bounds, two-sided
	Upper           float64 `json:"upper"`
	StandardError   float64 `json:"standard_error"`
	Labels          int     `json:"labels"`
	EffectiveLabels float64 `json:"effective_labels"` // labels of a simple random sample with the same variance
	Partial         bool    `json:"partial"`          // some stratum has predictions but no label
}

// StratumCount is the tally of one stratum in one window.
type StratumCount struct {
	Stratum     Stratum   `json:"stratum"`
	Interval    time.Time `json:"interval,omitzero"` // start of the curate interval; zero when not curated by driftgate
	Predictions int       `json:"predictions"`       // N: all predictions
	Selected    int       `json:"-"`                 // picked for labelling
	Labels      int       `json:"labels"`            // m: those labelled by people
	Correct     int       `json:"correct"`           // k: labelled, and the model was right
}

// Accuracy is the state of one window of one model: the counts behind the
// figure, and the figures. Estimates is empty when there are fewer labels than
// the configured minimum: a gap is honest.
type Accuracy struct {
	Window        string         `json:"window"` // "30m", "1h", ...
	Start         time.Time      `json:"start"`
	End           time.Time      `json:"end"`
	ModelVersion  string         `json:"model_version,omitempty"`
	Predictions   int            `json:"predictions"`
	Selected      int            `json:"selected"`
	Labels        int            `json:"labels"`
	NewestLabelAt time.Time      `json:"newest_label_at,omitzero"`
	Estimates     []Estimate     `json:"estimates"`
	Strata        []StratumCount `json:"strata"` // one row a stratum, summed over curate intervals
	Note          string         `json:"note,omitempty"`
}

// Estimate returns the figure of the named estimator.
func (a Accuracy) Estimate(name string) (Estimate, bool) {
	for _, e := range a.Estimates {
		if e.Estimator == name {
			return e, true
		}
	}
	return Estimate{}, false
}

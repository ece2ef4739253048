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
	EffectiveLabels float64 `json:"effective_labels"`    // labels of a simple random sample with the same variance
	Partial         bool    `json:"partial"`             // some stratum has predictions but no label
	BoundsOf        string  `json:"bounds_of,omitempty"` // the estimator whose bounds these are, when its own could not be trusted
}

// StratumCount is the tally of one stratum in one window.
type StratumCount struct {
	Stratum     Stratum   `json:"stratum"`
	Interval    time.Time `json:"interval,omitzero"` // start of the curate interval; zero when not curated by driftgate
	Predictions int       `json:"predictions"`       // N: all predictions
	Selected    int       `json:"-"`                 // picked for labelling
	Labels      int       `json:"labels"`            // m: those labelled by people
	Correct     int       `json:"correct"`           // k: labelled, and the model was right
	Moments     `json:"-"`
}

// Moments are sums over the predictions of a stratum that the estimators need
// beside its counts. f is a prediction's calibrated confidence, as its tag has
// it (three decimals; 0 when the tag is missing), y the share of people who
// agree with the model: 0 or 1 where one person answered. All are whole
// numbers, so that a sum is the same in whatever order it is made.
type Moments struct {
	Unscored int   // predictions without a confidence
	F        int64 // sum of f over all predictions, in thousandths
	FF       int64 // sum of f squared over all predictions, in millionths
	LabelF   int64 // sum of f over the labelled, in thousandths
	LabelFF  int64 // sum of f squared over the labelled, in millionths
	LabelYF  int64 // sum of y f over the labelled, in millionths
	LabelYY  int64 // sum of y squared over the labelled, in millionths
	Dissent  int64 // sum over the labelled of y less 1 if Correct counts it, in thousandths: 0 when people were of one mind
}

// Add adds the sums of n.
func (m *Moments) Add(n Moments) {
	m.Unscored += n.Unscored
	m.F += n.F
	m.FF += n.FF
	m.LabelF += n.LabelF
	m.LabelFF += n.LabelFF
	m.LabelYF += n.LabelYF
	m.LabelYY += n.LabelYY
	m.Dissent += n.Dissent
}

// Agreement is the sum over the labelled of the share of people who agree with
// the model: Correct, when people were of one mind.
func (c StratumCount) Agreement() float64 { return float64(c.Correct) + float64(c.Dissent)/1000 }

// Slice is the state of a part of a window: the predictions of one class, or
// of one band of confidence.
type Slice struct {
	By          string     `json:"by"`    // "class", "confidence"
	Value       string     `json:"value"` // the predicted class, or the band, as "0.50-0.70"
	Predictions int        `json:"predictions"`
	Labels      int        `json:"labels"`
	Correct     int        `json:"correct"`
	Estimates   []Estimate `json:"estimates"` // empty with too few labels
}

// Gap is how far the measured accuracy lies from the one that the model's
// confidence promised, on the same predictions. Concept drift opens it, because
// the model does not know that it is wrong.
type Gap struct {
	Difference  float64 `json:"difference"` // measured less expected, less the same at the model's best; below 0: worse than it believes
	Lower       float64 `json:"lower"`      // 95% bounds, which include what is not known of the calibration
	Upper       float64 `json:"upper"`
	Labels      int     `json:"labels"`      // behind the window's part
	Reference   float64 `json:"reference"`   // measured less expected when the model was at its best
	Significant bool    `json:"significant"` // the bounds leave 0 out
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
	Slices        []Slice        `json:"slices,omitempty"`
	Gap           *Gap           `json:"gap,omitempty"` // nil until the reference is known, and with too few labels
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

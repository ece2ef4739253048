package driftgate

import (
	"fmt"
	"slices"
)

// Verdict is the gate's answer on a challenger.
type Verdict uint8

// The verdicts. Missing data is neither pass nor fail, and a judgement that
// could not be carried out is neither of the three.
const (
	Inconclusive Verdict = iota // the zero value never promotes
	Reject
	Promote
	Errored // it could not be judged: a store was away, a suite is broken
)

// Verdicts lists every verdict.
var Verdicts = []Verdict{Inconclusive, Reject, Promote, Errored}

var verdictNames = []string{"inconclusive", "reject", "promote", "error"}

// String returns "inconclusive", "reject", "promote" or "error".
func (v Verdict) String() string {
	if int(v) >= len(verdictNames) {
		return fmt.Sprintf("verdict(%d)", v)
	}
	return verdictNames[v]
}

// MarshalText makes verdicts words in JSON.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote; the error is [ErrInvalid].
func (v *Verdict) UnmarshalText(b []byte) error {
	i := slices.Index(verdictNames, string(b))
	if i < 0 {
		return fmt.Errorf("verdict %q: want one of %v: %w", b, verdictNames, ErrInvalid)
	}
	*v = Verdict(i)
	return nil
}

// Comparison is champion against challenger on the same held-out clean
// samples, with the verdict that follows.
type Comparison struct {
	Champion           ModelRef `json:"champion"`
	Challenger         ModelRef `json:"challenger"`
	Pairs              int      `json:"pairs"`           // samples that both were judged on
	BothRight          int      `json:"both_right"`      // unweighted counts ...
	OnlyChampion       int      `json:"only_champion"`   // ... of the four
	OnlyChallenger     int      `json:"only_challenger"` // ... possible outcomes
	BothWrong          int      `json:"both_wrong"`
	PValue             float64  `json:"p_value"`    // exact McNemar on the random stratum; 1 when it has no discordant pair
	Difference         float64  `json:"difference"` // challenger's accuracy minus champion's, design-weighted
	Lower              float64  `json:"lower"`      // 95% bounds of Difference
	Upper              float64  `json:"upper"`
	ChampionAccuracy   float64  `json:"champion_accuracy"`   // design-weighted, on the same samples
	ChallengerAccuracy float64  `json:"challenger_accuracy"` // design-weighted, on the same samples
	Verdict            Verdict  `json:"verdict"`
	Reasons            []string `json:"reasons"`

	LabelsToDecide int               `json:"labels_to_decide,omitempty"` // about how many more held-out labels would settle an inconclusive gain; 0: not known
	Suites         []SuiteComparison `json:"suites,omitempty"`           // the suites beside the held-out one
}

// SuiteComparison is champion against challenger on one more suite: what it
// demands, and what it said by itself.
type SuiteComparison struct {
	Suite      string   `json:"suite"`
	Pairs      int      `json:"pairs"`
	Champion   float64  `json:"champion_accuracy"`
	Challenger float64  `json:"challenger_accuracy"`
	Difference float64  `json:"difference"` // challenger less champion
	Lower      float64  `json:"lower"`      // bounds that hold for all suites at once at 95%
	Upper      float64  `json:"upper"`
	Floor      float64  `json:"floor,omitempty"` // accuracy demanded of the challenger; 0: none
	MayLose    float64  `json:"may_lose"`        // accuracy that it may lose
	Verdict    Verdict  `json:"verdict"`         // promote: nothing here against it
	Reasons    []string `json:"reasons,omitempty"`
}

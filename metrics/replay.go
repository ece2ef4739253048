package metrics

import "time"

// ReplayReport says what [Metrics.Replay] recomputed and found to be the same
// to the last digit.
type ReplayReport struct {
	Windows int       `json:"windows"`       // as published, each with all its figures
	Slots   int       `json:"slots"`         // closed slots of the alarm, each with its decision
	From    time.Time `json:"from,omitzero"` // end of the oldest of them; zero when there was none
	To      time.Time `json:"to,omitzero"`   // and of the newest
}

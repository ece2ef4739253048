package evaluator

import (
	dg "driftgate"
)

// Study is two or more versions on the same samples: those that none of them
// was trained on.
type Study struct {
	Interval  dg.Interval  `json:"interval"`
	Versions  []Report     `json:"versions"`  // in the order asked for; on the common samples, without robustness and speed where they were not measured before
	Pairs     []PairStudy  `json:"pairs"`     // each version with each later one
	Agreement []Agreement  `json:"agreement"` // a suite each
	Training  []Difference `json:"training"`  // what differs between what they learned from
	Overlap   [][]int      `json:"overlap"`   // production samples that both learned from, version x version
	Lineage   Lineage      `json:"lineage"`
	Notes     []string     `json:"notes"`
}

// PairStudy is the first version (the champion of the comparison) against a
// later one, suite by suite.
type PairStudy struct {
	A          dg.ModelRef   `json:"a"`
	B          dg.ModelRef   `json:"b"`
	Comparison dg.Comparison `json:"comparison"` // on the held-out suite; its verdict is what the gate's built-in figures would say
	Suites     []SuitePair   `json:"suites"`
}

// SuitePair is two versions on one suite. Differences are B less A, -1 to 1.
type SuitePair struct {
	Suite      string      `json:"suite"`
	BothRight  int         `json:"both_right"`
	OnlyA      int         `json:"only_a"`
	OnlyB      int         `json:"only_b"`
	BothWrong  int         `json:"both_wrong"`
	Difference Bounded     `json:"difference"` // of accuracy, weighted, at 95% by itself
	Parts      []PartDelta `json:"parts"`      // classes and slices; their intervals hold at once for all of them
	Fault      string      `json:"fault,omitempty"`
}

// PartDelta is the difference on a part of a suite.
type PartDelta struct {
	By          string  `json:"by"`    // the attribute: "class", "brightness", ... (never confidence, which differs between the versions)
	Value       string  `json:"value"` // the class, ...
	Share       float64 `json:"share"` // of all predictions that the suite stands for
	A           float64 `json:"a"`     // accuracy of A on the part
	B           float64 `json:"b"`
	Difference  Bounded `json:"difference"`  // B less A; simultaneous over all parts of the suite
	Significant bool    `json:"significant"` // the simultaneous interval leaves 0 out
	OnlyA       int     `json:"only_a"`
	OnlyB       int     `json:"only_b"`
}

// Agreement is how often versions give the same answer, right or wrong.
type Agreement struct {
	Suite   string      `json:"suite"`
	Samples int         `json:"samples"`
	Shares  [][]float64 `json:"shares"` // weighted, version x version; 1 on the diagonal
	Counts  [][]int     `json:"counts"` // samples on which they agree
}

// Difference is one thing in which trainings differ.
type Difference struct {
	What   string   `json:"what"`   // "counts.human", "options.learning_rate", "dataset", ...
	Values []string `json:"values"` // a version each; empty where it has none
}

// Lineage is where versions come from and what became of them: a graph without
// circles.
type Lineage struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Node is one thing in a lineage.
type Node struct {
	ID     string `json:"id"`   // unique in the graph
	Kind   string `json:"kind"` // NodeDataset, NodeLabels, NodeVersion, NodeDeployment
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
}

// The kinds of node.
const (
	NodeDataset    = "dataset"    // a base dataset
	NodeLabels     = "labels"     // the production samples that a version learned from
	NodeVersion    = "version"    // an artifact
	NodeDeployment = "deployment" // a generation of the champion record
)

// Edge leads from a node to what was made of it.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Kind string `json:"kind"` // "trained on", "parent of", "deployed as", "followed by"
}

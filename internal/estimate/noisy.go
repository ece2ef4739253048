package estimate

import (
	"fmt"

	dg "driftgate"
)

// LabelNoise is what confident learning finds in a labelled set of classes 0 to
// K-1.
type LabelNoise struct {
	Thresholds []float64 // per class: the mean probability of it over the samples labelled so
	Joint      [][]int   // samples by label (row) and by the class that the model is confident of (column)
	Suspects   []int     // indices of samples that the model is confident of another class for, ascending
}

// ConfidentLearning compares labels with the probabilities of a model that did
// not learn from them (cross-validated), one row a sample and one column a
// class (Northcutt, Jiang & Chuang 2021, Confident Learning, equation 1): t_j is
// the mean p_j over the samples labelled j; a sample counts for the class whose
// p_j >= t_j, the likeliest if several, the first if equal, and for none if none.
// Labels 0,0,0,1,1,1 with p_1 = .1,.2,.9,.8,.7,.2 give t = .6 and .566667, joint
// (2,1),(1,2), suspects 2 and 5. A suspect is a reason to ask again, never one to
// drop a person's label. A class that no sample is labelled as has threshold 0 and no
// column of its own: nothing is known of it. The error is [dg.ErrInvalid] for
// tables that do not fit, and [dg.ErrTooFewSamples] for none.
func ConfidentLearning(labels []int, probabilities [][]float64) (LabelNoise, error) {
	if len(labels) == 0 {
		return LabelNoise{}, fmt.Errorf("estimate: confident learning: no samples: %w", dg.ErrTooFewSamples)
	}
	if len(labels) != len(probabilities) {
		return LabelNoise{}, fmt.Errorf("estimate: confident learning: %d labels, %d rows of probabilities: want as many: %w", len(labels), len(probabilities), dg.ErrInvalid)
	}
	classes := len(probabilities[0])
	n := LabelNoise{Thresholds: make([]float64, classes), Joint: make([][]int, classes)}
	count := make([]int, classes)
	for i, p := range probabilities {
		if len(p) != classes || labels[i] < 0 || labels[i] >= classes {
			return LabelNoise{}, fmt.Errorf("estimate: confident learning: sample %d: label %d, %d probabilities: want a label below %d and as many probabilities: %w", i, labels[i], len(p), classes, dg.ErrInvalid)
		}
		for j, x := range p {
			if !(x >= 0 && x <= 1) {
				return LabelNoise{}, fmt.Errorf("estimate: confident learning: sample %d: probability %g of class %d: want 0 to 1: %w", i, x, j, dg.ErrInvalid)
			}
		}
		count[labels[i]]++
		n.Thresholds[labels[i]] += p[labels[i]]
	}
	for j := range n.Thresholds {
		n.Joint[j] = make([]int, classes)
		n.Thresholds[j] /= float64(max(1, count[j]))
	}
	for i, p := range probabilities {
		confident := -1
		for j, x := range p {
			if count[j] > 0 && x >= n.Thresholds[j] && (confident < 0 || x > p[confident]) {
				confident = j
			}
		}
		if confident < 0 {
			continue
		}
		n.Joint[labels[i]][confident]++
		if confident != labels[i] {
			n.Suspects = append(n.Suspects, i)
		}
	}
	return n, nil
}

package trainer

import (
	"testing"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// A model harmed on one class, as the tests of gate, canary and rollback need
// it, is trained by the ordinary road from a set whose training labels of that
// class were flipped to another; nothing in the product knows of it.
func TestFlippedLabelsHarmOneClassAndNoOther(t *testing.T) {
	const bag, shoe = 8, 7
	recall := func(set dataset.Set) (perClass [10]float64) {
		job := quick(t)
		job.Options.Hidden, job.Options.Epochs, job.Options.Replay = []int{32}, 8, -1
		a := mustTrain(t, job, &memory{set: set})
		c, err := network.NewClassifier(a)
		if err != nil {
			t.Fatal(err)
		}
		var n [10]float64
		for i, label := range set.Test.Labels {
			p, err := c.Pixels(set.Image(set.Test, i))
			if err != nil {
				t.Fatal(err)
			}
			if n[label]++; network.Argmax(p) == int(label) {
				perClass[label]++
			}
		}
		for c := range perClass {
			perClass[c] /= n[c]
		}
		return perClass
	}
	sound := recall(garments())
	set := garments()
	set.Train.Labels = append([]uint16(nil), set.Train.Labels...)
	for i, label := range set.Train.Labels {
		if label == bag && i%10 != 0 { // nine in ten
			set.Train.Labels[i] = shoe
		}
	}
	harmed := recall(set)
	if harmed[bag] > sound[bag]-0.5 {
		t.Errorf("recall of the harmed class %.2f, before %.2f", harmed[bag], sound[bag])
	}
	for c := range sound {
		if c != bag && harmed[c] < sound[c]-0.15 {
			t.Errorf("class %d suffered too: recall %.2f, before %.2f", c, harmed[c], sound[c])
		}
	}
}

package demo

import (
	"fmt"
	"math/rand/v2"

	"driftgate"
	"driftgate/internal/dataset"
)

// source draws production images: the world that the model meets.
type source interface {
	// Draw returns a PNG and the position of its true class.
	Draw(drifted bool) (png []byte, class int, err error)
}

// worldDrift is what happens to the world: pictures arrive turned on their
// side, as from a new phone that says how it was held where nobody looks.
var worldDrift = dataset.Drift{Rotation: 90}

// garments draws synthetic garments that no dataset holds.
type garments struct{ rng *rand.Rand }

func (g *garments) Draw(drifted bool) ([]byte, int, error) {
	class := g.rng.IntN(len(driftgate.FashionMNIST))
	png, err := draw(class, drifted, g.rng)
	return png, class, err
}

func draw(class int, drifted bool, rng *rand.Rand) ([]byte, error) {
	var d dataset.Drift
	if drifted {
		d = worldDrift
	}
	return dataset.EncodePNG(dataset.Garment(class, d, rng), 28, 28, 1)
}

// replay shows the images of a test split, each once, in a random order.
type replay struct {
	set   dataset.Set
	order []int
	next  int
	rng   *rand.Rand
}

func newReplay(set dataset.Set, rng *rand.Rand) *replay {
	return &replay{set: set, order: rng.Perm(set.Test.Len()), rng: rng}
}

func (r *replay) Draw(drifted bool) ([]byte, int, error) {
	if r.next == len(r.order) {
		// A second showing would put one image into training set and holdout.
		return nil, 0, fmt.Errorf("demo: all %d test images have been shown: shorten the demo", len(r.order))
	}
	i := r.order[r.next]
	r.next++
	pixels := r.set.Image(r.set.Test, i)
	if drifted {
		pixels = worldDrift.Apply(pixels, r.set.Height, r.set.Width, r.rng)
	}
	png, err := dataset.EncodePNG(pixels, r.set.Height, r.set.Width, r.set.Channels)
	return png, int(r.set.Test.Labels[i]), err
}

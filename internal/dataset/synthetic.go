package dataset

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"

	dg "driftgate"
)

// Side is the height and width of Fashion-MNIST images and synthetic garments.
const Side = 28

// SyntheticOptions shapes a synthetic garment set.
type SyntheticOptions struct {
	Seed  uint64
	Train int // images
	Test  int // images
	Drift Drift
}

// Synthetic draws a set of garments: the classes of Fashion-MNIST, 28x28, grey
// on black. Image i of a split depends on the seed and i alone, so a larger set
// begins with the smaller one. Without a class mix each ten images in a row
// hold every class once, in random order.
func Synthetic(o SyntheticOptions) Set {
	return Set{
		Name: "garments", Classes: append(dg.Classes(nil), dg.FashionMNIST...),
		Height: Side, Width: Side, Channels: 1,
		Train: drawSplit(o, "train", o.Train), Test: drawSplit(o, "test", o.Test),
	}
}

// stream seeds the generator of one image, or of one block's class order.
func stream(seed uint64, split string, kind, i int) *rand.Rand {
	sub := uint64(i)<<3 | uint64(kind)<<1
	if split == "test" {
		sub |= 1
	}
	return rand.New(rand.NewPCG(seed, sub))
}

func drawSplit(o SyntheticOptions, name string, n int) Split {
	s := Split{Pixels: make([]byte, n*Side*Side), Labels: make([]uint16, n), IDs: make([]string, n)}
	for i := range n {
		s.Labels[i] = uint16(classAt(o, name, i))
		s.IDs[i] = fmt.Sprintf("%s/%05d", name, i)
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < n; i += workers {
				img := Garment(int(s.Labels[i]), o.Drift, stream(o.Seed, name, 0, i))
				copy(s.Pixels[i*Side*Side:], img)
			}
		})
	}
	wg.Wait()
	return s
}

// classAt is the class of image i of a split.
func classAt(o SyntheticOptions, split string, i int) int {
	n := len(dg.FashionMNIST)
	if o.Drift.Mix == nil {
		return stream(o.Seed, split, 1, i/n).Perm(n)[i%n]
	}
	return Draw(o.Drift.Mix, stream(o.Seed, split, 2, i))
}

// Draw picks a class by weights, which need not sum to 1.
func Draw(weights []float64, rng *rand.Rand) int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	last, u := 0, rng.Float64()*sum
	for i, w := range weights {
		if w <= 0 {
			continue
		}
		if last = i; u < w {
			return i
		}
		u -= w
	}
	return last
}

package trainer

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	dg "driftgate"
	"driftgate/internal/network"
)

// Descent says how weights move. The zero value of a setting that is not
// required does nothing.
type Descent struct {
	Optimiser    string  `json:"optimiser,omitempty"` // SGD (also when empty) or Adam
	LearningRate float64 `json:"learning_rate"`       // at its highest
	Schedule     string  `json:"schedule,omitempty"`  // Cosine (also when empty), Stepwise or Constant
	Warmup       int     `json:"warmup,omitempty"`    // epochs in which the learning rate rises to its highest
	Momentum     float64 `json:"momentum"`            // 0 to below 1; of Adam beta1
	MaxNorm      float64 `json:"max_norm"`            // longer gradients are cut to this length: one odd batch must not undo an epoch; 0 is no limit
	WeightDecay  float64 `json:"weight_decay"`        // 0 to below 1; of Adam decoupled (Loshchilov & Hutter, 2019)
	Smoothing    float64 `json:"smoothing,omitempty"` // share of each label that is spread over all classes (Szegedy et al., 2016), 0 to below 1
}

// What moves the weights.
const (
	SGD  = network.SGD  // stochastic gradient descent with momentum
	Adam = network.Adam // Kingma & Ba (2015)
)

// How the learning rate falls.
const (
	Cosine   = "cosine"   // to next to nothing along half a cosine (Loshchilov & Hutter, 2017)
	Stepwise = "step"     // to a tenth after half of the epochs, to a hundredth after three quarters (He et al., 2016)
	Constant = "constant" // not at all
)

// maxNorm bounds MaxNorm: who wants no limit says 0.
const maxNorm = 1e9

func (d Descent) check(f *faults, epochs int) {
	f.oneOf("optimiser", d.Optimiser, "", SGD, Adam)
	f.want(d.LearningRate > 0 && d.LearningRate <= 1e6, "learning_rate %g: want over 0, at most 1e6", d.LearningRate)
	f.oneOf("schedule", d.Schedule, "", Cosine, Stepwise, Constant)
	f.want(d.Warmup >= 0 && (d.Warmup == 0 || d.Warmup < epochs), "warmup %d: want 0 to below epochs (%d)", d.Warmup, epochs)
	f.want(d.Momentum >= 0 && d.Momentum < 1, "momentum %g: want 0 to below 1", d.Momentum)
	f.want(d.MaxNorm >= 0 && d.MaxNorm <= maxNorm, "max_norm %g: want 0 (none) to %g", d.MaxNorm, maxNorm)
	f.want(d.WeightDecay >= 0 && d.WeightDecay < 1, "weight_decay %g: want 0 to below 1", d.WeightDecay)
	f.want(d.Smoothing >= 0 && d.Smoothing < 1, "smoothing %g: want 0 to below 1", d.Smoothing)
}

// optimiser is what one step takes, at a learning rate.
func (d Descent) optimiser(rate float64) network.Optimiser {
	return network.Optimiser{Kind: d.kind(), LearningRate: rate, Momentum: d.Momentum, WeightDecay: d.WeightDecay, MaxNorm: d.MaxNorm}
}

func (d Descent) kind() string { return cmp.Or(d.Optimiser, SGD) }

// advice is what the likely cause of a loss that is no number is, and what to
// do about it.
func (d Descent) advice() string {
	if d.kind() == Adam {
		return fmt.Sprintf("the likely cause is a learning_rate of %g for adam, which wants 0.0001 to 0.01", d.LearningRate)
	}
	return fmt.Sprintf("the likely cause is a learning_rate of %g with momentum %g: try a tenth of it", d.LearningRate, d.Momentum)
}

// explain adds the place, counted from 0, and the likely cause to a loss that is
// no number any more.
func (d Descent) explain(err error, epoch, step, steps int) error {
	if !errors.Is(err, network.ErrDiverged) {
		return fmt.Errorf("epoch %d, step %d: %w", epoch+1, step+1, err)
	}
	return fmt.Errorf("epoch %d, step %d of %d: %w: %s: %w", epoch+1, step+1, steps, err, d.advice(), dg.ErrInvalid)
}

// rate is the learning rate of a step of an epoch, both from 0.
func (d Descent) rate(epoch, epochs, step, steps int) float64 {
	if epoch < d.Warmup {
		return d.LearningRate * float64(epoch*steps+step+1) / float64(d.Warmup*steps)
	}
	done := (float64(epoch-d.Warmup) + float64(step)/float64(steps)) / float64(epochs-d.Warmup)
	switch d.Schedule {
	case Constant:
		return d.LearningRate
	case Stepwise:
		return d.LearningRate * stepwise(done)
	}
	return falling(d.LearningRate, done)
}

func stepwise(done float64) float64 {
	switch {
	case done < 0.5:
		return 1
	case done < 0.75:
		return 0.1
	}
	return 0.01
}

// falling is what a cosine leaves of a rate when a share of the training is done.
func falling(rate, done float64) float64 { return rate * (1 + math.Cos(math.Pi*done)) / 2 }

//go:build bench

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"driftgate/internal/network"
)

// model is one network that is measured.
type model struct {
	name string
	what string
	spec network.Spec
}

// modelOf knows the networks of the comparison.
func modelOf(name string) (model, error) {
	switch name {
	case "mlp":
		return model{"MLP", "784-512-512-10", network.MLP(network.Size{Height: 28, Width: 28, Channels: 1}, []int{512, 512}, 10)}, nil
	case "cnn":
		return model{"CNN", "28x28x1, 3x3x32, pool, 3x3x64, pool, 128, 10", network.CNN(network.Size{Height: 28, Width: 28, Channels: 1}, network.CNNOptions{}, 10)}, nil
	case "mobilenet":
		return model{"MobileNet", "width 0.5, 64x64x3, 10 classes", network.MobileNet(network.Size{Height: 64, Width: 64, Channels: 3}, 0.5, 10)}, nil
	}
	return model{}, fmt.Errorf("model %q: want mlp, cnn or mobilenet", name)
}

// flops is what one sample costs: a multiply and an add for each weight in each
// place, forward; in training twice more, for the gradients of the weights and
// of what went in, which the first layer does not need. All else (batch norm,
// pools, loss, optimiser) counts for nothing.
func (m model) flops(mode string) float64 {
	var forward, first float64
	for _, st := range m.spec.Stages() {
		n := 2 * float64(st.Out.Height*st.Out.Width)
		window := float64(st.Kernel * st.Kernel)
		switch st.Kind {
		case network.Dense:
			n *= float64(st.In.Values() * st.Units)
		case network.Conv:
			n *= window * float64(st.In.Channels*st.Units)
		case network.Depthwise:
			n *= window * float64(st.In.Channels)
		default:
			continue
		}
		if first == 0 {
			first = n
		}
		forward += n
	}
	if mode == infer {
		return forward
	}
	return 3*forward - first
}

// measured is one case: what is run, and how often.
type measured struct {
	model
	mode    string
	batch   int
	threads int
}

func (m measured) String() string {
	return fmt.Sprintf("%s %s, batch %d, %d threads", m.name, m.mode, m.batch, m.threads)
}

// variant is one way to run PyTorch.
type variant struct {
	blas   library
	sleeps bool // GOMP_SPINCOUNT=0: threads that wait sleep
	last   bool // channels_last
}

func (v variant) String() string {
	s := v.blas.name
	if v.sleeps {
		s += ", no spin"
	}
	if v.last {
		s += ", channels_last"
	}
	return s
}

// variants are the ways worth trying: a convolutional network spends next to
// nothing in the matrix library, a dense one has no channels, and one thread
// waits for no other.
func (m measured) variants(blas []library) []variant {
	spins, formats := []bool{false}, []bool{false}
	if m.threads > 1 {
		spins = append(spins, true)
	}
	if m.spec.Layers[0].Kind != network.Dense {
		formats, blas = append(formats, true), blas[:1]
	}
	var out []variant
	for _, b := range blas {
		for _, sleeps := range spins {
			for _, last := range formats {
				out = append(out, variant{b, sleeps, last})
			}
		}
	}
	return out
}

const (
	learningRate = 1e-4 // so small that hundreds of steps at batch 1 do not diverge
	momentum     = 0.9
	weightDecay  = 5e-4
	inTurn       = 4 // different batches
)

// load writes a case's weights and some batches to files in dir and returns
// what tells a worker to read them.
func (m measured) load(dir string, batches int) (request, error) {
	rng := rand.New(rand.NewPCG(1, 2))
	q := request{
		Op: "load", Spec: m.spec, Mode: m.mode, Batch: m.batch,
		Weights: filepath.Join(dir, "weights"), Inputs: filepath.Join(dir, "inputs"), Labels: filepath.Join(dir, "labels"),
		LearningRate: learningRate, Momentum: momentum, WeightDecay: weightDecay,
	}
	var weights []float32
	for _, t := range network.NewWeights(m.spec, rng) {
		q.Dims = append(q.Dims, t.Shape)
		weights = append(weights, t.Data...)
	}
	labels := make([]int32, batches*m.batch)
	for i := range labels {
		labels[i] = int32(rng.IntN(m.spec.Classes))
	}
	inputs := images(m.spec, labels, rng)
	for file, numbers := range map[string]any{q.Weights: weights, q.Inputs: inputs, q.Labels: labels} {
		var b bytes.Buffer
		if err := binary.Write(&b, binary.LittleEndian, numbers); err != nil {
			return q, err
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			return q, err
		}
	}
	return q, nil
}

// images draws one for each label: patches of colour that its class has, under
// noise.
func images(s network.Spec, labels []int32, rng *rand.Rand) []float32 {
	const patch = 8 // pixels
	in := s.Input
	colours := make([]float32, s.Classes*in.Values())
	for i := range colours {
		colours[i] = float32(rng.NormFloat64())
	}
	out := make([]float32, 0, len(labels)*in.Values())
	for _, label := range labels {
		class := colours[int(label)*in.Values():]
		for y := range in.Height {
			for x := range in.Width {
				for c := range in.Channels {
					out = append(out, class[(y/patch*in.Width+x/patch)*in.Channels+c]+float32(rng.NormFloat64())/2)
				}
			}
		}
	}
	return out
}

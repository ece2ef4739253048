package network

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	dg "driftgate"
)

func TestHeadOnFeaturesIsTheNetwork(t *testing.T) {
	specs := []Spec{MLP(Flat(12), []int{9, 5}, 4), MLP(Flat(12), nil, 3), MLP(Flat(7), []int{33}, 2)}
	for _, s := range families() {
		specs = append(specs, s)
	}
	for _, s := range specs {
		rng := rand.New(rand.NewPCG(1, uint64(s.Inputs())))
		w := trained(s, rng)
		x := make([]float32, 50*s.Inputs())
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		f := make([]float32, 50*s.Features())
		if err := Features(s, w, x, f); err != nil {
			t.Fatal(err)
		}
		whole, err := Infer(s, w, x)
		if err != nil {
			t.Fatal(err)
		}
		onTop, err := Infer(s.Head(), w.Head(s), f)
		if err != nil || !slices.Equal(whole, onTop) {
			t.Errorf("%+v: the head on the features answers otherwise than the network (%v)", s, err)
		}
		one := make([]float32, s.Features())
		if err := Features(s, w, x[3*s.Inputs():4*s.Inputs()], one); err != nil || !slices.Equal(one, f[3*s.Features():4*s.Features()]) {
			t.Errorf("%+v: a row alone has other features than in the batch (%v)", s, err)
		}
	}
}

func TestWithHeadReplacesTheLastLayerAlone(t *testing.T) {
	for name, s := range families() {
		w, other := trained(s, rand.New(rand.NewPCG(1, 1))), trained(s, rand.New(rand.NewPCG(2, 2)))
		stages := s.Stages()
		tensors := len(stages[len(stages)-1].Tensors)
		got := w.WithHead(other.Head(s))
		if err := got.Check(s); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			want := w[i].Data
			if i >= len(w)-tensors {
				want = other[i].Data
			}
			if !slices.Equal(got[i].Data, want) {
				t.Errorf("%s: tensor %s is not the one it should be", name, got[i].Name)
			}
		}
		if head := got.Head(s); len(head) != tensors || head.Check(s.Head()) != nil {
			t.Errorf("%s: its head has %d tensors, want %d: %v", name, len(head), tensors, head.Check(s.Head()))
		}
	}
}

func TestFeaturesRefuseWhatDoesNotFit(t *testing.T) {
	s := MLP(Flat(12), []int{5}, 4)
	w := NewWeights(s, rand.New(rand.NewPCG(1, 1)))
	for name, err := range map[string]error{
		"half a row":     Features(s, w, make([]float32, 13), make([]float32, 5)),
		"too small":      Features(s, w, make([]float32, 24), make([]float32, 5)),
		"other weights":  Features(s, w.Head(s), make([]float32, 12), make([]float32, 5)),
		"too large":      Features(s, w, make([]float32, 12), make([]float32, 10)),
		"nothing at all": Features(s, nil, nil, nil),
	} {
		if !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

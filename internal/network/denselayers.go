package network

import (
	"fmt"

	dg "driftgate"
)

// dense is a layer y = w.x + b, with the weights as [out][in].
type dense struct {
	in, out int
	w, b    []float32
	relu    bool
}

// denseLayers expects weights that passed Check. It keeps references to them.
func denseLayers(s Spec, w Weights) ([]dense, error) {
	widths, err := s.widths()
	if err != nil {
		return nil, err
	}
	var out []dense
	for i := range len(widths) - 1 {
		out = append(out, dense{widths[i], widths[i+1], w[2*i].Data, w[2*i+1].Data, i < len(widths)-2})
	}
	return out, nil
}

// widths are the sizes of input, hidden layers and output of a network that is
// nothing but dense layers, as [MLP] makes it.
func (s Spec) widths() ([]int, error) {
	out := []int{s.Inputs()}
	for i, l := range s.Layers {
		if l.Kind != Dense || !l.Bias || l.ReLU != (i < len(s.Layers)-1) {
			return nil, fmt.Errorf("network: layers[%d] %v: not built yet: %w", i, l, dg.ErrInvalid)
		}
		out = append(out, l.Units)
	}
	return out, nil
}

package network

import (
	"fmt"

	dg "driftgate"
)

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

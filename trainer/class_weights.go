package trainer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// ClassWeights are factors by label.
type ClassWeights map[string]float64

// UnmarshalJSON also reads the form that the configuration has: a list of
// LABEL=FACTOR.
func (c *ClassWeights) UnmarshalJSON(b []byte) error {
	var pairs []string
	if json.Unmarshal(b, &pairs) != nil {
		var of map[string]float64
		if err := json.Unmarshal(b, &of); err != nil {
			return fmt.Errorf(`want {"LABEL": FACTOR} or ["LABEL=FACTOR"]: %w`, err)
		}
		*c = of
		return nil
	}
	*c = nil
	for _, pair := range pairs {
		at := strings.LastIndex(pair, "=")
		factor, err := strconv.ParseFloat(strings.TrimSpace(pair[at+1:]), 64)
		if at < 1 || err != nil {
			return fmt.Errorf("%q: want LABEL=FACTOR", pair)
		}
		if *c == nil {
			*c = ClassWeights{}
		}
		(*c)[strings.TrimSpace(pair[:at])] = factor
	}
	return nil
}

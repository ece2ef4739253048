package trainer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"driftgate/internal/network"
)

// Search asks for several trainings with other settings, of which the best by
// validation accuracy becomes the model.
//
// Trial 1 is the options as given. Each further trial draws every setting of
// the space from the seed, the trial's number and the setting's name alone: a
// trial is the same whatever Trials is, and taking one setting out of the space
// leaves the others as they were.
type Search struct {
	Trials int              `json:"trials,omitempty"` // 0 is no search, at most 200
	Method string           `json:"method,omitempty"` // Halving (also when empty) or Random
	Space  map[string]Range `json:"space,omitempty"`  // in the place of the default range of each setting that it names
}

// How a search spends its epochs.
const (
	// Random trains every trial to its end (Bergstra & Bengio, 2012).
	Random = "random"
	// Halving trains all trials a little, then the better third of them further,
	// and so on: successive halving (Jamieson & Talwalkar, 2016) with the rate of
	// three of Hyperband (Li et al., 2018).
	Halving = "halving"
)

// Range is what a setting is drawn from: a number from Low to High, evenly (in
// the logarithm for learning rate and weight decay), or one of Values, each as
// likely. The zero value takes the setting out of the search.
type Range struct {
	Low    float64 `json:"low,omitempty"`
	High   float64 `json:"high,omitempty"`
	Values []any   `json:"values,omitempty"`
}

func (r Range) empty() bool { return len(r.Values) == 0 && r.Low == 0 && r.High == 0 }

// setting is an option that can be searched: one that the loop reads, not one
// that decides what is learned from, which all trials share.
type setting struct {
	name    string // of the option, as "augment.share"
	log     bool   // drawn evenly in the logarithm
	network bool   // shapes the network: not with weights to begin from
	family  string // of the networks that have it; empty is all
	usual   func(o Options) Range
}

// settings are all that can be searched. Those without a usual range are
// searched only when the space names them.
var settings = []setting{
	{name: "learning_rate", log: true, usual: func(o Options) Range {
		if o.Optimiser == Adam {
			return Range{Low: 1e-4, High: 1e-2}
		}
		return Range{Low: 0.003, High: 0.5}
	}},
	{name: "batch", usual: func(Options) Range { return Range{Values: []any{32, 64, 128}} }},
	{name: "weight_decay", log: true, usual: func(Options) Range { return Range{Low: 1e-6, High: 1e-3} }},
	{name: "hidden", network: true, family: network.FamilyMLP, usual: widths},
	{name: "dropout", network: true, family: network.FamilyCNN, usual: func(o Options) Range { return only(o.Model == network.FamilyCNN, Range{High: 0.5}) }},
	{name: "augment.share", usual: func(o Options) Range { return only(o.Augment.Any(), Range{Low: 0.1, High: 1}) }},
	{name: "optimiser"}, {name: "schedule"}, {name: "warmup"}, {name: "momentum"}, {name: "max_norm"}, {name: "smoothing"},
	{name: "model", network: true}, {name: "width", network: true, family: network.FamilyMobileNet},
	{name: "filters", network: true, family: network.FamilyCNN}, {name: "convs", network: true, family: network.FamilyCNN},
	{name: "dense", network: true, family: network.FamilyCNN}, {name: "batch_norm", network: true, family: network.FamilyCNN},
}

func only(when bool, r Range) Range {
	if when {
		return r
	}
	return Range{}
}

// widths are the hidden layers at half, full and twice their width.
func widths(o Options) Range {
	var r Range
	if len(o.Hidden) == 0 || o.Model != "" && o.Model != network.FamilyMLP {
		return r
	}
	for _, times := range []float64{0.5, 1, 2} {
		var layers []int
		for _, h := range o.Hidden {
			layers = append(layers, min(max(int(float64(h)*times), 1), maxWidth))
		}
		r.Values = append(r.Values, layers)
	}
	return r
}

// maxWidth of a hidden layer.
const maxWidth = 8192

// maxValues of one setting in a search.
const maxValues = 50

// space is what is searched: the usual ranges with those in their place that
// the search names.
func (s Search) space(o Options) map[string]Range {
	out := map[string]Range{}
	for _, x := range settings {
		r, named := s.Space[x.name]
		if !named && x.usual != nil && (!x.network || o.starts() == Scratch) {
			r = x.usual(o)
		}
		if !r.empty() {
			out[x.name] = r
		}
	}
	return out
}

// trial is the options of a trial, counted from 1, and what of them was searched.
func (s Search) trial(o Options, number int) (Options, map[string]json.RawMessage, error) {
	space := s.space(o)
	o.Search = Search{}
	out, err := o.with(nil)
	if err != nil {
		return o, nil, err
	}
	drawn := map[string]json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(space)) {
		if number > 1 {
			u := share(o.Seed, "search "+name, strconv.Itoa(number))
			if out, err = out.draw(name, space[name], u); err != nil {
				return o, nil, err
			}
		}
		if drawn[name], err = out.get(name); err != nil {
			return o, nil, err
		}
	}
	return out, drawn, nil
}

// draw sets an option to the value of its range at u, 0 to below 1.
func (o Options) draw(name string, r Range, u float64) (Options, error) {
	if n := len(r.Values); n > 0 {
		return o.with(map[string]any{name: r.Values[int(u*float64(n))]})
	}
	v := r.Low + u*(r.High-r.Low)
	if i := slices.IndexFunc(settings, func(x setting) bool { return x.name == name }); i >= 0 && settings[i].log {
		v = r.Low * math.Pow(r.High/r.Low, u)
	}
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64) // more digits would only be hard to read
	out, err := o.with(map[string]any{name: min(max(v, r.Low), r.High)})
	if err != nil { // a whole number
		return o.with(map[string]any{name: math.Round(v)})
	}
	return out, nil
}

// with is a copy of the options in which those named, as "augment.share", are
// set.
func (o Options) with(values map[string]any) (out Options, err error) {
	whole, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(whole, &out)
	}
	if err != nil {
		return out, fmt.Errorf("trainer: copy options: %w", err)
	}
	for name, v := range values {
		for _, part := range slices.Backward(strings.Split(name, ".")) {
			v = map[string]any{part: v}
		}
		b, err := json.Marshal(v)
		if err != nil {
			return out, fmt.Errorf("%s: %w", name, err)
		}
		if err := strictly(b, &out); err != nil {
			return out, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}

// get is an option's value as JSON.
func (o Options) get(name string) (json.RawMessage, error) {
	b, err := json.Marshal(o)
	for part := range strings.SplitSeq(name, ".") {
		var fields map[string]json.RawMessage
		if err == nil {
			err = json.Unmarshal(b, &fields)
		}
		if b = fields[part]; b == nil { // left out, as it is empty
			return o.zero(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("trainer: option %s: %w", name, err)
	}
	return b, nil
}

// zero is the empty value of an option as JSON: null for a list, where it means
// the usual one.
func (o Options) zero(name string) (json.RawMessage, error) {
	for _, v := range []any{0, false, ""} {
		if _, err := o.with(map[string]any{name: v}); err == nil {
			return json.Marshal(v)
		}
	}
	return []byte("null"), nil
}

func (s Search) check(f *faults, o Options) {
	f.want(s.Trials >= 0 && s.Trials <= network.MaxTrials, "search.trials %d: want 0 (no search) to %d", s.Trials, network.MaxTrials)
	f.oneOf("search.method", s.Method, "", Random, Halving)
	if s.Trials == 0 {
		f.want(len(s.Space) == 0, "search.space: want search.trials beside it")
		return
	}
	f.want(o.Validation > 0, "search with validation 0: want a share over 0, such as 0.1: trials are compared on the validation split")
	o.Search = Search{}
	f.want(s.Trials == 1 || len(s.space(o)) > 0, "search.space: it leaves nothing to search, and all %d trials would be the same: want a setting in it", s.Trials)
	var names []string
	models := s.models(o)
	for _, x := range settings {
		names = append(names, x.name)
		if r, ok := s.Space[x.name]; ok {
			f.want(x.family == "" || r.empty() || slices.Contains(models, any(x.family)), "search.space.%s: no model %v has it: it is a setting of %s", x.name, models, x.family)
			r.check(f, o, x)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Space)) {
		f.want(slices.Contains(names, name), "search.space.%.60s: want one of %s", name, strings.Join(names, ", "))
	}
}

// models are the families of the networks that a search may come to.
func (s Search) models(o Options) []any {
	return append([]any{cmp.Or(o.Model, network.FamilyMLP)}, s.Space["model"].Values...)
}

// check looks whether every value that may be drawn can be trained with.
func (r Range) check(f *faults, o Options, x setting) {
	at := "search.space." + x.name
	f.want(len(r.Values) == 0 || r.Low == 0 && r.High == 0, "%s: want low and high, or values, not both", at)
	f.want(len(r.Values) <= maxValues, "%s: %d values, want at most %d", at, len(r.Values), maxValues)
	f.want(!x.network || r.empty() || o.starts() == Scratch, "%s: start %s begins with a network that is made already: want start %s", at, o.starts(), Scratch)
	values := r.Values[:min(len(r.Values), maxValues)]
	if len(values) == 0 && !r.empty() {
		f.want(r.Low <= r.High && (!x.log || r.Low > 0), "%s: low %g, high %g: want low at most high%s", at, r.Low, r.High,
			map[bool]string{true: ", and over 0: it is drawn in the logarithm"}[x.log])
		values = []any{r.Low, r.High}
	}
	for _, v := range values {
		out, err := o.with(map[string]any{x.name: v})
		if err == nil {
			err = out.Validate()
		}
		if before := o.Validate(); err != nil && (before == nil || before.Error() != err.Error()) {
			f.add(fmt.Errorf("%s: %v: %w", at, v, err))
			return
		}
	}
}

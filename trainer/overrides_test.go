package trainer

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	dg "driftgate"
)

func TestMergingChangesNothingOfWhatItBeganWith(t *testing.T) {
	full := func() Options {
		o := DefaultOptions()
		o.Sources, o.Filters, o.Dense, o.Quality.Weak = []string{"human", "proxy"}, []int{8, 16}, []int{32, 64}, []string{"class=Bag", "class=Coat"}
		o.ClassWeights = ClassWeights{"Bag": 2}
		o.Search = Search{Trials: 2, Space: map[string]Range{"batch": {Values: []any{16., 32.}}}}
		return o
	}
	o := full()
	got, err := o.Merge(json.RawMessage(`{"hidden":[7],"sources":["proxy"],"filters":[1],"dense":[2],"quality":{"weak":["class=Dress"]},"class_weights":{"Bag":9,"Coat":3},"search":{"space":{"batch":{"values":[1]}}},"epochs":3}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := full(); !reflect.DeepEqual(o, want) {
		t.Errorf("the options became %+v\nwant %+v", o, want)
	}
	if got.Hidden[0] != 7 || len(got.Hidden) != 1 || got.Epochs != 3 || got.Batch != o.Batch || got.Quality.Weak[0] != "class=Dress" || got.ClassWeights["Bag"] != 9 || got.Quality.WeakFactor != o.Quality.WeakFactor {
		t.Errorf("merged %+v", got)
	}
	for _, nothing := range []string{"", "{}", "null"} {
		if same, err := o.Merge(json.RawMessage(nothing)); err != nil || !reflect.DeepEqual(same, full()) {
			t.Errorf("merging %q gave %+v, %v", nothing, same, err)
		}
	}
	for text, want := range map[string]string{
		`{"epoch":3}`:       `unknown field "epoch"`,
		`{"hidden":"no"}`:   "cannot unmarshal",
		`{"epochs":0}`:      "epochs 0: want 1",
		`{} {"epochs":3}`:   "something follows the options",
		`{`:                 "unexpected EOF",
		`[]`:                "cannot unmarshal",
		`{"warmup":15}`:     "warmup 15: want 0 to below epochs (15)",
		`{"max_norm":1e10}`: "max_norm 1e+10: want 0 (none) to 1e+09",
	} {
		if _, err := o.Merge(json.RawMessage(text)); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	o.MaxNorm = math.Inf(1)
	if _, err := o.Merge(nil); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("options that are no JSON: %v", err)
	}
	if _, err := (Job{Options: o}).key(); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("a job that is no JSON: %v", err)
	}
}

func TestOverridesSayWhatIsWrongWithThem(t *testing.T) {
	for _, tt := range []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{"quality": "{}", "quality.folds": "5"}, "option quality.folds: quality is given as a whole too"},
		{map[string]string{"augment": "null", "augment.flip": "true"}, "option augment.flip: augment is given as a whole too"},
		{map[string]string{"epochs": ""}, `option epochs: "": want a whole number`},
		{map[string]string{"hidden": "[a]"}, `option hidden: "[a]": want`},
		{map[string]string{"colour": "red"}, "option colour: \"red\": there is no such option"},
	} {
		if raw, err := Overrides(tt.values); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %s, %v, want %q", tt.values, raw, err, tt.want)
		}
	}
	for _, tt := range []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{"quality": "{}", "augment.flip": "true"}, `{"augment":{"flip":true},"quality":{}}`},
		{map[string]string{"class_weights": "[Bag=2, Coat=3]"}, `{"class_weights":["Bag=2","Coat=3"]}`},
		{map[string]string{"class_weights": `{"Bag": 2}`}, `{"class_weights":{"Bag":2}}`},
		{map[string]string{"dense": "", "filters": "", "class_weights": ""}, `{"class_weights":null,"dense":null,"filters":null}`},
		{map[string]string{"dense": "[]"}, `{"dense":[]}`},
	} {
		raw, err := Overrides(tt.values)
		if err != nil || string(raw) != tt.want {
			t.Errorf("%v: %s, %v, want %s", tt.values, raw, err, tt.want)
		}
		if _, err := DefaultOptions().Merge(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

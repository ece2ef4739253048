package trainer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
)

// Overrides makes options of names and texts, as "augment.share": "0.5" or
// "hidden": "128,64"; they replace those of the same name in the options that
// they are merged into. The error names every option that there is not and every
// value that it cannot have, and is [dg.ErrInvalid].
func Overrides(values map[string]string) (json.RawMessage, error) {
	var f faults
	tree := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v, err := parsed(name, values[name])
		if err != nil {
			f.add(err)
			continue
		}
		at, parts := tree, strings.Split(name, ".")
		for _, part := range parts[:len(parts)-1] {
			if at[part] == nil {
				at[part] = map[string]any{}
			}
			at = at[part].(map[string]any)
		}
		at[parts[len(parts)-1]] = v
	}
	b, err := json.Marshal(tree)
	f.add(err)
	if len(f) > 0 {
		return nil, fmt.Errorf("trainer: %w: %w", dg.ErrInvalid, errors.Join(f...))
	}
	return b, nil
}

// parsed is a text as the value that the option of that name can have.
func parsed(name, text string) (any, error) {
	readings := []any{text, items(text)}
	var v any
	if json.Unmarshal([]byte(text), &v) == nil {
		readings = []any{json.RawMessage(text), items(text), text}
	}
	var first error
	for _, v := range readings {
		_, err := Options{}.with(map[string]any{name: v})
		if err == nil {
			return v, nil
		}
		if first == nil {
			first = fmt.Errorf("option %s: %q: %w", name, text, reading(err))
		}
	}
	return nil, first
}

// reading says what is wrong with a value in plain words.
func reading(err error) error {
	if kind := new(json.UnmarshalTypeError); errors.As(err, &kind) {
		switch kind.Type.Kind() {
		case reflect.Int, reflect.Uint64:
			return errors.New("want a whole number")
		case reflect.Float64:
			return errors.New("want a number")
		case reflect.Bool:
			return errors.New("want true or false")
		case reflect.Slice:
			return errors.New("want a list with commas")
		}
		return fmt.Errorf("want a %s", kind.Type)
	}
	return errors.New("there is no such option")
}

// items is a list with commas.
func items(text string) []any {
	out := []any{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if n, err := strconv.ParseFloat(part, 64); err == nil {
			out = append(out, n)
		} else {
			out = append(out, part)
		}
	}
	return out
}

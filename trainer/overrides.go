package trainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
)

// Merge is a copy of the options in which those of a JSON object replace those
// of the same name, strictly: an option that there is not, or a value that it
// cannot have, is [dg.ErrInvalid]. The options themselves stay as they are, down
// to their lists, so that what one asks for is nobody else's.
func (o Options) Merge(raw json.RawMessage) (Options, error) {
	out, err := o.with(nil)
	if err == nil && len(raw) > 0 {
		err = strictly(raw, &out)
	}
	if err != nil {
		return Options{}, fmt.Errorf("trainer: options: %w: %w", dg.ErrInvalid, err)
	}
	return out, out.Validate()
}

// strictly reads one JSON value, of which every name must be known, and nothing
// after it.
func strictly(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the options")
	}
	return nil
}

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
		if whole, ok := place(tree, name, v); !ok {
			f.add(fmt.Errorf("option %s: %s is given as a whole too: want the one or the other", name, whole))
		}
	}
	b, err := json.Marshal(tree)
	f.add(err)
	if len(f) > 0 {
		return nil, fmt.Errorf("trainer: %w: %w", dg.ErrInvalid, errors.Join(f...))
	}
	return b, nil
}

// place puts a value where its name says. It cannot where one of the sections
// above it, whose name is returned, has a value of its own.
func place(tree map[string]any, name string, v any) (whole string, ok bool) {
	parts := strings.Split(name, ".")
	for i, part := range parts[:len(parts)-1] {
		if _, there := tree[part]; !there {
			tree[part] = map[string]any{}
		}
		if tree, ok = tree[part].(map[string]any); !ok {
			return strings.Join(parts[:i+1], "."), false
		}
	}
	tree[parts[len(parts)-1]] = v
	return "", true
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
		if list, ok := v.([]any); ok && err == nil && len(list) == 0 {
			return nil, nil // an empty text is the usual list, as in the configuration
		}
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

// items is a list with commas, with or without brackets around it.
func items(text string) []any {
	out := []any{}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		text = strings.TrimSuffix(inner, "]")
	}
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

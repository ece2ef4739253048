package experiment

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Name makes a name of any text: every other character becomes "_".
func Name(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-' && b.Len() > 0:
			b.WriteRune(r)
		case r == '.' && b.Len() > 0 && !strings.HasSuffix(b.String(), "."):
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
		if b.Len() >= MaxName {
			break
		}
	}
	name := strings.TrimRight(b.String(), ".")
	if name == "" {
		return "_"
	}
	return name
}

// Clip cuts a text to what a value may hold, and makes it UTF-8 without zero
// bytes.
func Clip(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= most {
		return text
	}
	cut := most - len("…")
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// Flatten adds the leaves of v, which is anything that has a JSON form, to into
// as "prefix.name.name"; what is empty is left out. A list becomes one value,
// with commas.
func Flatten(into map[string]string, prefix string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		return // of what has no JSON form, nothing is said
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var tree any
	if d.Decode(&tree) == nil {
		flatten(into, prefix, tree)
	}
}

func flatten(into map[string]string, at string, v any) {
	fields, ok := v.(map[string]any)
	if !ok {
		if text := leaf(v); text != "" && len(into) < MaxNames {
			into[at] = Clip(text, MaxValue)
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		below := Name(name)
		if at != "" {
			below = at + "." + below
		}
		if len(below) <= MaxName {
			flatten(into, below, fields[name])
		}
	}
}

func leaf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case []any:
		var parts []string
		for _, e := range v {
			if m, ok := e.(map[string]any); ok {
				b, err := json.Marshal(m)
				if err == nil {
					parts = append(parts, string(b))
				}
				continue
			}
			parts = append(parts, leaf(e))
		}
		return strings.Join(parts, ",")
	}
	return ""
}

// Finite copies the figures of m that are numbers, under names that are valid.
func Finite(m map[string]float64) map[string]float64 {
	out := make(map[string]float64, len(m))
	for name, v := range m {
		if !math.IsNaN(v) && !math.IsInf(v, 0) && len(out) < MaxNames {
			out[Name(name)] = v
		}
	}
	return out
}

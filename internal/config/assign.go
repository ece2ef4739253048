package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"driftgate"

	"github.com/goccy/go-yaml/ast"
)

// scalar renders a YAML scalar, or a flat list of them joined by commas.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		var parts []string
		for _, v := range n.Values {
			s, ok := scalar(v)
			if !ok {
				return "", false
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		return "", true
	case ast.ScalarNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// pairs renders a flat map of YAML scalars as a list of KEY=VALUE.
func pairs(n ast.Node) (string, bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return "", false
	}
	var out []string
	for _, v := range values {
		text, ok := scalar(v.Value)
		if _, list := v.Value.(*ast.SequenceNode); !ok || list {
			return "", false
		}
		out = append(out, v.Key.GetToken().Value+"="+text)
	}
	return strings.Join(out, ","), true
}

// assign parses text into v; a bad text returns what would be right.
func assign(v reflect.Value, text string) (want string) {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		b, err := strconv.ParseBool(text)
		if *p = b; err != nil {
			return "true or false"
		}
	case *int:
		n, err := strconv.Atoi(text)
		if *p = n; err != nil {
			return "a whole number"
		}
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if *p = n; err != nil {
			return "a whole number"
		}
	case *uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if *p = n; err != nil {
			return "a whole number, not negative"
		}
	case *float64:
		x, err := strconv.ParseFloat(text, 64)
		if *p = x; err != nil {
			return "a number"
		}
	case *time.Duration:
		d, err := ParseDuration(text)
		if *p = d; err != nil {
			return "a duration such as 30s, 10m, 6h or 7d"
		}
	case *[]time.Duration:
		return assignList(p, text, ParseDuration, "durations such as 1h, 24h, 7d")
	case *[]string:
		if text = unbracketed(text); text == "" {
			*p = nil
			return ""
		}
		return assignList(p, text, func(s string) (string, error) { return s, nil }, "texts")
	case *[]int:
		if text = unbracketed(text); text == "" {
			*p = nil
			return ""
		}
		return assignList(p, text, strconv.Atoi, "whole numbers")
	default:
		panic(fmt.Sprintf("config: no parser for %T", p)) // a new field's type: caught by every test
	}
	return ""
}

// unbracketed takes the brackets off a list that is written as in the file.
func unbracketed(text string) string {
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSpace(strings.TrimSuffix(inner, "]"))
	}
	return text
}

func assignList[T any](p *[]T, text string, parse func(string) (T, error), want string) string {
	var out []T
	for part := range strings.SplitSeq(text, ",") {
		x, err := parse(strings.TrimSpace(part))
		if err != nil {
			return want
		}
		out = append(out, x)
	}
	*p = out
	return ""
}

// ParseDuration is [time.ParseDuration] with days: 7d is 168h.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 36500 {
			return 0, fmt.Errorf("duration %q: want such as 7d: %w", s, driftgate.ErrInvalid)
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	return time.ParseDuration(s)
}

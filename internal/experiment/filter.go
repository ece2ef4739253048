package experiment

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	dg "driftgate"
)

// Filter chooses records. Its zero value lets all pass. It is a predicate in
// Go: nothing of it ever becomes SQL.
type Filter struct{ terms []term }

// term is one condition: a field, what it is compared by and with; or a tag.
type term struct {
	field  Field
	op     string
	text   string
	number float64
	isNum  bool
}

// Limits on a filter.
const (
	MaxFilter = 2000 // bytes
	maxTerms  = 50
)

// operators, the longer ones first, so that none is taken for its beginning.
var operators = []string{"!=", "<=", ">=", "=", "<", ">", "~", ":"}

const termForm = `want terms such as kind=train, metrics.test_accuracy>.85, params.start=warm, note~"new supplier" or tag:baseline, with spaces between`

// ParseFilter reads a filter: terms with spaces between them, all of which must
// hold. A term is a field, an operator and a value: = and != compare texts, or
// numbers where both are; < <= > >= compare numbers, times with times; ~ asks
// for a text within, whatever the case; tag:NAME asks for a tag. A value with
// spaces stands in double quotes. A record without the field passes != only.
// The error is [driftgate.ErrInvalid] and says which term, and what is right.
func ParseFilter(s string) (Filter, error) {
	if len(s) > MaxFilter {
		return Filter{}, fmt.Errorf("experiment: filter: %d bytes, want at most %d: %w", len(s), MaxFilter, dg.ErrInvalid)
	}
	words, err := split(s)
	if err != nil {
		return Filter{}, fmt.Errorf("experiment: filter: %w: %w", err, dg.ErrInvalid)
	}
	if len(words) > maxTerms {
		return Filter{}, fmt.Errorf("experiment: filter: %d terms, want at most %d: %w", len(words), maxTerms, dg.ErrInvalid)
	}
	var f Filter
	for _, w := range words {
		t, err := parseTerm(w)
		if err != nil {
			return Filter{}, fmt.Errorf("experiment: filter: %w", err)
		}
		f.terms = append(f.terms, t)
	}
	return f, nil
}

// split cuts at spaces that stand in no quotes; the quotes go.
func split(s string) (words []string, err error) {
	var word strings.Builder
	inside, quoted := false, false
	for _, r := range s {
		switch {
		case r == '"':
			quoted, inside = !quoted, true
		case unicode.IsSpace(r) && !quoted:
			if inside {
				words = append(words, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quote is not closed: %s", termForm)
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

func parseTerm(w string) (term, error) {
	at := strings.IndexAny(w, "=!<>~:")
	if at <= 0 {
		return term{}, fmt.Errorf("term %.60q: %s: %w", w, termForm, dg.ErrInvalid)
	}
	t := term{}
	for _, op := range operators {
		if strings.HasPrefix(w[at:], op) {
			t.op = op
			break
		}
	}
	if t.op == "" {
		return term{}, fmt.Errorf("term %.60q: %s: %w", w, termForm, dg.ErrInvalid)
	}
	name := w[:at]
	t.text = w[at+len(t.op):]
	if t.op == ":" {
		if (name != "tag" && name != "tags") || len(t.text) > MaxName || !nameForm.MatchString(t.text) {
			return term{}, fmt.Errorf("term %.60q: only tag:NAME has a colon: %s: %w", w, termForm, dg.ErrInvalid)
		}
		t.field = Field{"tags", t.text}
		return t, nil
	}
	var err error
	if t.field, err = ParseField(name); err != nil {
		return term{}, fmt.Errorf("term %.60q: %w", w, err)
	}
	return t.withNumber(w)
}

// withNumber reads the value as the number or the time that the operator asks
// for.
func (t term) withNumber(w string) (term, error) {
	if t.field == (Field{"", "started"}) || t.field == (Field{"", "finished"}) {
		at, err := parseTime(t.text)
		if err != nil || t.op == "~" {
			return term{}, fmt.Errorf("term %.60q: want < <= > >= = or != with a time, such as started>2026-11-01 or started>=2026-11-01T08:00:00Z: %w", w, dg.ErrInvalid)
		}
		t.number, t.isNum = float64(at.UnixNano())/1e9, true
		return t, nil
	}
	n, err := strconv.ParseFloat(t.text, 64)
	t.number, t.isNum = n, err == nil && n == n
	switch {
	case strings.ContainsAny(t.op, "<>") && !t.isNum:
		return term{}, fmt.Errorf("term %.60q: %s compares numbers, and %.40q is none: %w", w, t.op, t.text, dg.ErrInvalid)
	case t.field.Numeric() && t.op != "~" && !t.isNum:
		return term{}, fmt.Errorf("term %.60q: %s is a number, and %.40q is none: %w", w, t.field, t.text, dg.ErrInvalid)
	case t.text == "" && t.op == "~":
		return term{}, fmt.Errorf("term %.60q: want a text after ~: %w", w, dg.ErrInvalid)
	}
	return t, nil
}

func parseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Parse(time.DateOnly, s)
}

// Match reports whether every term holds for r.
func (f Filter) Match(r Record) bool {
	for _, t := range f.terms {
		if !t.match(&r) {
			return false
		}
	}
	return true
}

func (t term) match(r *Record) bool {
	v := t.field.of(r)
	switch t.op {
	case ":":
		return v.known
	case "~":
		return v.known && strings.Contains(strings.ToLower(v.text), strings.ToLower(t.text))
	case "=", "!=":
		return t.equal(r, v) == (t.op == "=")
	}
	if !v.isNum || !v.known {
		return false
	}
	switch t.op {
	case "<":
		return v.number < t.number
	case "<=":
		return v.number <= t.number
	case ">":
		return v.number > t.number
	default:
		return v.number >= t.number
	}
}

// equal compares texts, numbers as numbers, versions by as many digits as were
// given, at least four.
func (t term) equal(r *Record, v value) bool {
	if t.field == (Field{"", "version"}) {
		want := strings.TrimPrefix(t.text, "sha256:")
		return v.known && len(want) >= 4 && strings.HasPrefix(strings.TrimPrefix(string(r.Version), "sha256:"), want)
	}
	if v.known && v.isNum && t.isNum {
		return v.number == t.number
	}
	return v.text == t.text && (v.known || t.text == "")
}

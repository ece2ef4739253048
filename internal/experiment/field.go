package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
)

// Field names one value of a record: "metrics.test_accuracy", "params.start",
// "env.cpus", "tags.baseline", or one of the plain ones.
type Field struct{ group, name string }

// plainFields are the fields without a group, in the order in which they are
// told.
var plainFields = []string{"id", "kind", "state", "verdict", "run", "parent", "version", "error", "note", "started", "finished", "seconds"}

// groups are what fields may begin with, and what they mean.
var groups = map[string]string{
	"metrics": "metrics", "metric": "metrics", "params": "params", "param": "params", "parameters": "params",
	"env": "env", "environment": "env", "tags": "tags", "tag": "tags",
}

// ParseField reads a field's name; the error is [driftgate.ErrInvalid] and says
// what fields there are.
func ParseField(s string) (Field, error) {
	if contains(plainFields, s) {
		return Field{"", s}, nil
	}
	group, name, ok := strings.Cut(s, ".")
	if ok && groups[group] != "" {
		if len(name) > MaxName || !nameForm.MatchString(name) {
			return Field{}, fmt.Errorf("field %.60q: want letters, digits, _ - and dots after %q: %w", s, group+".", dg.ErrInvalid)
		}
		return Field{groups[group], name}, nil
	}
	return Field{}, fmt.Errorf("field %.60q: want %s, or metrics., params., env. or tags. with a name: %w", s, strings.Join(plainFields, ", "), dg.ErrInvalid)
}

// String is the field's name, as [ParseField] reads it.
func (f Field) String() string {
	if f.group == "" {
		return f.name
	}
	return f.group + "." + f.name
}

// Label is the field's name without its group, for the head of a column.
func (f Field) Label() string { return f.name }

// value is what a record has in a field.
type value struct {
	text   string
	number float64
	isNum  bool // number holds
	known  bool // the record has it
}

func textValue(s string) value {
	v := value{text: s, known: s != ""}
	if n, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
		v.number, v.isNum = n, true
	}
	return v
}

func timeValue(t time.Time) value {
	if t.IsZero() {
		return value{}
	}
	return value{text: t.UTC().Format(time.RFC3339), number: float64(t.UnixNano()) / 1e9, isNum: true, known: true}
}

func (f Field) of(r *Record) value {
	switch f.group {
	case "metrics":
		v, ok := r.Metrics[f.name]
		return value{text: strconv.FormatFloat(v, 'g', -1, 64), number: v, isNum: ok, known: ok}
	case "params":
		return textValue(r.Parameters[f.name])
	case "env":
		return textValue(r.Environment[f.name])
	case "tags":
		text, ok := r.Tags[f.name]
		v := textValue(text)
		v.known = ok
		return v
	}
	return f.plain(r)
}

func (f Field) plain(r *Record) value {
	text := func(s string) value { return value{text: s, known: s != ""} }
	switch f.name {
	case "id":
		return text(r.ID)
	case "kind":
		return text(r.Kind)
	case "state":
		return text(r.State)
	case "verdict":
		return text(r.Verdict)
	case "run":
		return text(r.RunID)
	case "parent":
		return text(r.Parent)
	case "version":
		return text(r.Version.Short())
	case "error":
		return text(r.Error)
	case "note":
		return text(r.Note)
	case "started":
		return timeValue(r.StartedAt)
	case "finished":
		return timeValue(r.FinishedAt)
	case "seconds":
		if r.FinishedAt.IsZero() {
			return value{}
		}
		return textValue(strconv.FormatFloat(r.FinishedAt.Sub(r.StartedAt).Seconds(), 'f', -1, 64))
	}
	return value{}
}

// Text is a record's value in the field as text, and whether it has one.
func (f Field) Text(r Record) (string, bool) {
	v := f.of(&r)
	return v.text, v.known
}

// Any is a record's value in the field as JSON has it: a number for metrics and
// seconds, else a text; nil when there is none.
func (f Field) Any(r Record) any {
	v := f.of(&r)
	switch {
	case !v.known:
		return nil
	case f.Numeric():
		return v.number
	}
	return v.text
}

// Numeric reports whether every value of the field is a number.
func (f Field) Numeric() bool { return f.group == "metrics" || f == Field{"", "seconds"} }

// DefaultColumns are shown when nobody says which.
var DefaultColumns = []string{"kind", "state", "verdict", "version", "metrics.test_accuracy", "metrics.validation_accuracy", "started"}

// MaxColumns is how many columns a table has at most.
const MaxColumns = 40

// ParseColumns reads names with commas between them; empty means the defaults.
// The error is [driftgate.ErrInvalid].
func ParseColumns(s string) ([]Field, error) {
	names := DefaultColumns
	if strings.TrimSpace(s) != "" {
		names = strings.Split(s, ",")
	}
	if len(names) > MaxColumns {
		return nil, fmt.Errorf("experiment: columns: %d: want at most %d: %w", len(names), MaxColumns, dg.ErrInvalid)
	}
	var out []Field
	for _, name := range names {
		f, err := ParseField(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("experiment: columns: %w", err)
		}
		out = append(out, f)
	}
	return out, nil
}

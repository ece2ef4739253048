package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"driftgate"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile is the largest configuration file that is read, in bytes.
const maxFile = 1 << 20

// Sources says where values may come from.
type Sources struct {
	File   string                           // path of the YAML file; empty is none
	Lookup func(name string) (string, bool) // environment; nil is os.LookupEnv
	Flags  map[string]string                // by key
}

// Value is one setting of the effective configuration.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // secrets masked
	Source string `json:"source"` // "default", "file:12", "env NAME", "flag"
	Doc    string `json:"doc"`
}

// legacy maps the environment variables of the systems that driftgate takes
// over from to keys.
var legacy = map[string]string{
	"s3.endpoint":   "MINIO_URL",
	"s3.access_key": "MINIO_USER",
	"s3.secret_key": "MINIO_PASSWORD",
}

// Load builds the effective configuration. The error is
// [driftgate.ErrInvalid] and lists every mistake with its place.
func Load(src Sources) (Config, []Value, error) {
	c := Default()
	l := &loader{leaves: leavesOf(reflect.ValueOf(&c).Elem(), ""), source: map[string]string{}}
	if src.Lookup == nil {
		src.Lookup = os.LookupEnv
	}
	if src.File != "" {
		l.file(src.File)
	}
	l.environment(src.Lookup)
	l.standardEnvironment(src.Lookup)
	for _, key := range slices.Sorted(mapKeys(src.Flags)) {
		l.set(key, src.Flags[key], "flag")
	}
	l.gate(&c)
	for _, f := range c.check() {
		if !l.bad[f.key] {
			l.fail(cmp.Or(l.source[f.key], "default"), "%s: %s", f.key, f.text)
		}
	}
	if len(l.errs) > 0 {
		return c, nil, fmt.Errorf("config: %d mistakes: %w\n%w", len(l.errs), driftgate.ErrInvalid, errors.Join(l.errs...))
	}
	return c, l.values(), nil
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

type leaf struct {
	key, doc string
	secret   bool
	value    reflect.Value
}

func leavesOf(v reflect.Value, prefix string) []leaf {
	var out []leaf
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Tag.Get("key") == "" {
			continue // no setting
		}
		key := prefix + f.Tag.Get("key")
		if f.Type.Kind() == reflect.Struct {
			out = append(out, leavesOf(v.Field(i), key+".")...)
			continue
		}
		out = append(out, leaf{key, f.Tag.Get("doc"), f.Tag.Get("secret") != "", v.Field(i)})
	}
	return out
}

type loader struct {
	leaves []leaf
	source map[string]string
	bad    map[string]bool                                 // keys whose text could not be read: not judged again
	list   func(key string, n ast.Node, where string) bool // takes keys that hold lists of sections; nil: there are none
	errs   []error
}

func (l *loader) fail(where, format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

func (l *loader) leaf(key string) (leaf, bool) {
	i := slices.IndexFunc(l.leaves, func(f leaf) bool { return f.key == key })
	if i < 0 {
		return leaf{}, false
	}
	return l.leaves[i], true
}

func (l *loader) set(key, text, where string) {
	f, ok := l.leaf(key)
	if !ok {
		l.fail(where, "unknown key %s%s", key, l.suggest(key))
		return
	}
	l.source[key] = where
	if want := assign(f.value, text); want != "" {
		shown := strconv.Quote(text)
		if f.secret {
			shown = "(secret)"
		}
		if l.bad == nil {
			l.bad = map[string]bool{}
		}
		l.bad[key] = true
		l.fail(where, "%s: %s: want %s", key, shown, want)
	}
}

// suggest names the known key that shares the most with an unknown one.
func (l *loader) suggest(key string) string {
	best, score := "", 0
	for _, f := range l.leaves {
		n := 0
		for n < min(len(f.key), len(key)) && f.key[n] == key[n] {
			n++
		}
		for m := 1; m <= min(len(f.key), len(key)) && f.key[len(f.key)-m] == key[len(key)-m]; m++ {
			n++
		}
		if n > score {
			best, score = f.key, n
		}
	}
	if score < 4 {
		return ""
	}
	return "; did you mean " + best + "?"
}

func (l *loader) environment(lookup func(string) (string, bool)) {
	for _, f := range l.leaves {
		for _, name := range []string{legacy[f.key], EnvName(f.key)} {
			if name == "" {
				continue
			}
			if v, ok := lookup(name); ok {
				if name == "MINIO_URL" && v != "" && !strings.Contains(v, "://") {
					v = "http://" + v // as the old system's clients read it
				}
				l.set(f.key, v, "env "+name)
			}
		}
	}
}

// EnvName is the environment variable of a key: s3.access_key is
// DRIFTGATE_S3_ACCESS_KEY.
func EnvName(key string) string {
	return "DRIFTGATE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (l *loader) file(path string) {
	info, err := os.Stat(path)
	if err != nil {
		l.fail(path, "%v", err)
		return
	}
	if info.Size() > maxFile {
		l.fail(path, "%d bytes: want at most %d", info.Size(), maxFile)
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		l.fail(path, "%v", err)
		return
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		l.fail(path, "%v", err)
		return
	}
	for _, doc := range tree.Docs {
		l.walk(path, "", doc.Body)
	}
}

func (l *loader) walk(path, prefix string, n ast.Node) {
	switch n := n.(type) {
	case nil, *ast.CommentGroupNode:
	case *ast.MappingNode:
		for _, v := range n.Values {
			l.entry(path, prefix, v)
		}
	case *ast.MappingValueNode:
		l.entry(path, prefix, n)
	default:
		l.fail(place(path, n.GetToken()), "want keys and values, got %s", n.Type())
	}
}

func (l *loader) entry(path, prefix string, v *ast.MappingValueNode) {
	key := prefix + v.Key.GetToken().Value
	where := place(path, v.Key.GetToken())
	if l.list != nil && l.list(key, v.Value, where) {
		return
	}
	if _, ok := l.leaf(key); !ok && l.section(key) {
		l.walk(path, key+".", v.Value)
		return
	}
	text, ok := scalar(v.Value)
	if f, known := l.leaf(key); known && !ok {
		if _, list := f.value.Addr().Interface().(*[]string); list {
			text, ok = pairs(v.Value)
		}
		if !ok {
			l.fail(where, "%s: want a value, or a list of values", key)
			return
		}
	}
	if !ok {
		l.fail(where, "unknown key %s%s", key, l.suggest(key))
		return
	}
	if old, ok := l.source[key]; ok {
		l.fail(where, "%s: set before, at %s", key, old)
		return
	}
	l.set(key, text, where)
}

func (l *loader) section(key string) bool {
	return slices.ContainsFunc(l.leaves, func(f leaf) bool { return strings.HasPrefix(f.key, key+".") })
}

func place(path string, t *token.Token) string {
	return fmt.Sprintf("%s:%d", path, t.Position.Line)
}

func (l *loader) values() []Value {
	var out []Value
	for _, f := range l.leaves {
		text := render(f.value)
		if f.secret && text != "" {
			text = "********"
		}
		out = append(out, Value{f.key, text, cmp.Or(l.source[f.key], "default"), f.doc})
	}
	return out
}

func render(v reflect.Value) string {
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(parts, ",")
}

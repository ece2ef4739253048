package evaluator

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"slices"
	"strings"

	dg "driftgate"
)

// Discord is a way in which two versions and the truth do not agree.
type Discord string

// The kinds of discord.
const (
	OnlyA     Discord = "only_a"     // only the first version is right
	OnlyB     Discord = "only_b"     // only the second is
	BothWrong Discord = "both_wrong" // neither
)

// Discords lists every kind.
var Discords = []Discord{OnlyA, OnlyB, BothWrong}

// Shown is one image of a gallery.
type Shown struct {
	ID      string `json:"id"`
	Suite   string `json:"suite"`
	Bucket  string `json:"bucket,omitempty"` // where the image lies; empty: not an object of its own, ask [Evaluator.Picture]
	Key     string `json:"key,omitempty"`
	Label   string `json:"label"` // the truth
	A       Said   `json:"a"`
	B       Said   `json:"b"`
	Stratum string `json:"stratum,omitempty"` // why it was picked for labelling
}

// Said is one version's answer.
type Said struct {
	Answer     string  `json:"answer"`
	Confidence float64 `json:"confidence"` // 0 to 1
}

// maxShown bounds a page of a gallery, and shownByDefault is its usual length.
const (
	maxShown       = 500
	shownByDefault = 40
)

// Discordant is one page of a gallery: the samples of a suite on which versions
// a and b are discordant in the given way, by id, at most limit (0: 40, at most
// 500) after the one named (empty: from the first). Errors are those of Study,
// [dg.ErrInvalid] for another kind, and [dg.ErrNotFound] for a suite that is not
// in the gate.
func (e *Evaluator) Discordant(ctx context.Context, a, b dg.ModelRef, iv dg.Interval, suite string, kind Discord, after string, limit int) ([]Shown, error) {
	if !slices.Contains(Discords, kind) || limit < 0 || limit > maxShown {
		return nil, fmt.Errorf("evaluator: gallery of %q, %d images: want one of %q and at most %d: %w", kind, limit, Discords, maxShown, dg.ErrInvalid)
	}
	if limit == 0 {
		limit = shownByDefault
	}
	vs, err := e.load(ctx, a, b)
	if err != nil {
		return nil, err
	}
	rule, err := e.rule(suite)
	if err != nil {
		return nil, err
	}
	s, err := e.open(ctx, vs, rule, iv)
	var sh *sheet
	if err == nil {
		sh, err = e.fill(ctx, s, vs)
	}
	if err != nil {
		return nil, fmt.Errorf("evaluator: gallery of %s on %s: %w", names(vs), suite, err)
	}
	out := []Shown{}
	for i, x := range sh.samples { // by id
		if x.id > after && sh.complete(i) && sh.discord(i) == kind && len(out) < limit {
			out = append(out, e.shown(sh, i))
		}
	}
	return out, nil
}

// rule finds the rule of a suite by its name.
func (e *Evaluator) rule(suite string) (SuiteRule, error) {
	rules := e.rules()
	if i := slices.IndexFunc(rules, func(r SuiteRule) bool { return r.Name == suite }); i >= 0 {
		return rules[i], nil
	}
	var known []string
	for _, r := range rules {
		known = append(known, r.Name)
	}
	return SuiteRule{}, fmt.Errorf("evaluator: suite %q: want one of %q: %w", suite, known, dg.ErrNotFound)
}

// discord is how the first two versions differ on sample i; empty where both
// are right.
func (sh *sheet) discord(i int) Discord {
	switch a, b := sh.right(0, i), sh.right(1, i); {
	case a && b:
		return ""
	case a:
		return OnlyA
	case b:
		return OnlyB
	}
	return BothWrong
}

func (e *Evaluator) shown(sh *sheet, i int) Shown {
	s := sh.samples[i]
	out := Shown{ID: s.id, Suite: sh.Name, Label: s.label, Stratum: string(s.stratum),
		A: Said{sh.said(0, i), float64(sh.answers[0][i].confidence)}, B: Said{sh.said(1, i), float64(sh.answers[1][i].confidence)}}
	if sh.Kind == KindHeldout {
		out.Bucket, out.Key = e.Buckets.Clean, s.key
	}
	return out
}

// Picture returns one image of a suite as a file with its content type, for
// pages. ref names the version whose dataset the test suite is. The error is
// [dg.ErrNotFound] when there is none.
func (e *Evaluator) Picture(ctx context.Context, ref dg.ModelRef, name, id string) (body []byte, contentType string, err error) {
	fail := func(err error) ([]byte, string, error) {
		return nil, "", fmt.Errorf("evaluator: picture %.200q of %s: %w", id, name, err)
	}
	rule, err := e.rule(name)
	if err != nil {
		return nil, "", err
	}
	v, err := e.version(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	var s suite
	var x sample
	if rule.Name == KindHeldout {
		s.file = e.fromBucket(e.Buckets.Clean)
		x, err = e.labelled(ctx, id, v.Manifest.Classes)
	} else if s, err = e.open(ctx, []*version{v}, rule, dg.Interval{}); err == nil {
		x, err = s.find(id)
	}
	if err != nil {
		return fail(err)
	}
	if s.file != nil {
		if body, err = s.file(ctx, x); err != nil {
			return fail(err)
		}
		if kind := http.DetectContentType(body); kind == "image/png" || kind == "image/jpeg" {
			return body, kind, nil
		}
		return fail(fmt.Errorf("want a JPEG or PNG image: %w", dg.ErrInvalid)) // nothing else belongs on a page
	}
	img, err := s.look(ctx, x)
	if err != nil {
		return fail(err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return fail(err)
	}
	return out.Bytes(), "image/png", nil
}

// look sees one image of a suite.
func (s suite) look(ctx context.Context, x sample) (image.Image, error) {
	see, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	return see(ctx, x)
}

// find finds a sample by its id.
func (s suite) find(id string) (sample, error) {
	i, found := slices.BinarySearchFunc(s.samples, id, func(x sample, id string) int { return strings.Compare(x.id, id) })
	if !found {
		return sample{}, fmt.Errorf("no such sample, or one that the version was trained on: %w", dg.ErrNotFound)
	}
	return s.samples[i], nil
}

// labelled finds a labelled production sample.
func (e *Evaluator) labelled(ctx context.Context, id string, classes dg.Classes) (sample, error) {
	found, err := e.Labels.Records(ctx, id)
	if err != nil {
		return sample{}, err
	}
	class := classes.Index(found[id].Label)
	if class < 0 {
		return sample{}, fmt.Errorf("no label of the class list: %w", dg.ErrNotFound)
	}
	return sample{id: id, label: found[id].Label, key: dg.SampleKey(class, id)}, nil
}

package evaluator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	dg "driftgate"
	"driftgate/internal/network"
)

// version is one model that is judged. Nothing of it changes.
type version struct {
	ref dg.ModelRef
	*network.Artifact
	answering func() (*network.Classifier, error) // builds the classifier once, which runs the artifact's self-test
}

func newVersion(ref dg.ModelRef, a *network.Artifact) *version {
	return &version{ref, a, sync.OnceValues(func() (*network.Classifier, error) {
		c, err := network.NewClassifier(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref.Short(), err)
		}
		return c, nil
	})}
}

// loaded keeps the versions used last: who waits for labels asks again and
// again about the same two, and artifacts never change.
type loaded struct {
	mu   sync.Mutex
	list []*version // newest last
}

// What is kept of versions, so that large ones do not fill the memory.
const (
	keptVersions   = 8
	keptParameters = 8 << 20 // of a version, 32 MiB
)

func (l *loaded) get(ref dg.ModelRef) *version {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(l.list, func(v *version) bool { return v.ref == ref }); i >= 0 {
		v := l.list[i]
		l.list = append(slices.Delete(l.list, i, i+1), v)
		return v
	}
	return nil
}

func (l *loaded) put(v *version) {
	if v.Manifest.Spec.Parameters() > keptParameters {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) >= keptVersions {
		l.list = slices.Delete(l.list, 0, 1)
	}
	l.list = append(l.list, v)
}

// version loads one version.
func (e *Evaluator) version(ctx context.Context, ref dg.ModelRef) (*version, error) {
	if v := e.loaded.get(ref); v != nil {
		return v, nil
	}
	a, err := e.Models.Load(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("evaluator: %w", err)
	}
	v := newVersion(ref, a)
	e.loaded.put(v)
	return v, nil
}

// load fetches versions, which must differ and know the same classes: the error
// is [dg.ErrRefused] for a model compared with itself, [dg.ErrInvalid] for
// other class lists and [dg.ErrNotFound] for a model that is not there.
func (e *Evaluator) load(ctx context.Context, refs ...dg.ModelRef) ([]*version, error) {
	if err := e.o.Validate(); err != nil {
		return nil, err
	}
	var vs []*version
	for i, ref := range refs {
		if slices.Contains(refs[:i], ref) {
			return nil, fmt.Errorf("evaluator: compare %s with itself: %w", ref.Short(), dg.ErrRefused)
		}
		v, err := e.version(ctx, ref)
		if err != nil {
			return nil, err
		}
		vs = append(vs, v)
	}
	for _, v := range vs[1:] {
		if a, b := vs[0].Manifest.Classes, v.Manifest.Classes; !slices.Equal(a, b) {
			return nil, fmt.Errorf("evaluator: %s knows %d classes %q, %s %d classes %q: want the same list: %w",
				vs[0].ref.Short(), len(a), a, v.ref.Short(), len(b), b, dg.ErrInvalid)
		}
	}
	return vs, nil
}

// names lists versions for errors.
func names(vs []*version) string {
	var out []string
	for _, v := range vs {
		out = append(out, v.ref.Short())
	}
	return strings.Join(out, ", ")
}

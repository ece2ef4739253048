package trainer

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// An artifact lies under artifacts/HEX/ in the models bucket; its signature
// lies beside it and is not part of it.
const (
	artifactsPrefix = "artifacts/"
	signatureFile   = "signature.json"
	maxArtifact     = 32 // files
)

// Parent reads an artifact from the models bucket. The reference is the digest
// of its files, so it is the one that was asked for, byte by byte, or an error:
// [dg.ErrNotFound] or [dg.ErrInvalid].
func (s stored) Parent(ctx context.Context, ref dg.ModelRef) (*network.Artifact, error) {
	prefix := artifactsPrefix + strings.TrimPrefix(string(ref), "sha256:") + "/"
	bucket := s.store.Bucket(s.models)
	keys, err := bucket.Keys(ctx, prefix)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 || len(keys) > maxArtifact {
		return nil, fmt.Errorf("%d files under %s, want those of an artifact: %w", len(keys), prefix, dg.ErrNotFound)
	}
	files := map[string][]byte{}
	for _, key := range keys {
		if name := path.Base(key); name != signatureFile {
			if files[name], err = bucket.Get(ctx, key); err != nil {
				return nil, err
			}
		}
	}
	a, got, err := network.ReadArtifact(files)
	if err == nil && got != ref {
		err = fmt.Errorf("the files under %s are those of %s: altered or misplaced: %w", prefix, got.Short(), dg.ErrInvalid)
	}
	return a, err
}

// starts says what the options' Start is, never empty.
func (o Options) starts() string { return cmp.Or(o.Start, Scratch) }

// parent loads what a warm or head start begins with, and checks that it is a
// model of the same kind; nil for a start from scratch. The error says what
// differs, and is [dg.ErrInvalid] then.
func parent(ctx context.Context, job Job, set dataset.Set, src source) (*network.Artifact, error) {
	from := job.Options.starts()
	if from == Scratch {
		return nil, nil
	}
	a, err := src.Parent(ctx, job.Parent)
	if err != nil {
		return nil, fmt.Errorf("trainer: start %s: load the parent %s: %w", from, job.Parent.Short(), err)
	}
	refuse := func(what string, has, want any) error {
		return fmt.Errorf("trainer: start %s: the parent %s has %s %v, this training has %v: want the same, or start %s: %w",
			from, job.Parent.Short(), what, has, want, Scratch, dg.ErrInvalid)
	}
	m, spec := a.Manifest, job.Options.spec(set)
	switch {
	case !slices.Equal(m.Classes, set.Classes):
		return nil, refuse("classes", []string(m.Classes), []string(set.Classes))
	case m.Spec.Architecture != spec.Architecture:
		return nil, refuse("architecture", m.Spec.Architecture, spec.Architecture)
	case !spec.Takes(m.Spec):
		return nil, refuse("layers", m.Spec, spec)
	case !reflect.DeepEqual(m.Preprocessing, set.Preprocessing()):
		return nil, refuse("preprocessing", m.Preprocessing, set.Preprocessing())
	}
	return a, nil
}

// inherit adds what the parent had learned from to the ids trained on: its
// weights know those samples, so a model that began with them may not be judged
// on them either.
func (m *material) inherit(ids []string) []string {
	if m.parent == nil {
		return ids
	}
	own := len(ids)
	all := slices.Compact(slices.Sorted(slices.Values(append(ids, m.parent.Manifest.TrainedOn...))))
	m.account.Start.Inherited = len(all) - own
	return all
}

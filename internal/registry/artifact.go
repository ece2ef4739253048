package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

func artifactKey(ref dg.ModelRef, file string) string {
	return artifacts + strings.TrimPrefix(string(ref), refPrefix) + "/" + file
}

// Save stores an artifact's files and returns its name. Saving it again, or
// after a crash halfway, is no error. With a signing key the model is signed.
// Files that do not make an artifact are [dg.ErrInvalid]; a stored file that
// differs, or a model that is being deleted, is [dg.ErrConflict].
func (r *Registry) Save(ctx context.Context, contents map[string][]byte) (dg.ModelRef, error) {
	_, ref, err := network.ReadArtifact(contents)
	if err != nil {
		return "", fmt.Errorf("registry: save: %w", err)
	}
	var signature []byte
	if r.o.Keys.Signing != nil {
		if signature, err = network.Sign(r.o.Keys.Signing, ref); err != nil {
			return "", fmt.Errorf("registry: save %s: %w", ref.Short(), err)
		}
	}
	if err := r.save(ctx, ref, contents, signature); err != nil {
		return "", fmt.Errorf("registry: save %s: %w", ref.Short(), err)
	}
	return ref, nil
}

// save writes the manifest last: without it there is no artifact. signature
// may be nil.
func (r *Registry) save(ctx context.Context, ref dg.ModelRef, contents map[string][]byte, signature []byte) error {
	names, err := network.FilesOf(contents[network.ManifestFile])
	if err != nil {
		return err
	}
	return r.holding(ctx, ref, func() error {
		for _, file := range names {
			if file == network.ManifestFile && signature != nil {
				if err := r.saveSignature(ctx, ref, signature); err != nil {
					return err
				}
			}
			if err := r.saveFile(ctx, artifactKey(ref, file), contents[file]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Registry) saveFile(ctx context.Context, key string, content []byte) error {
	_, err := r.store.Put(ctx, r.bucket, key, content, objstore.PutOptions{IfNoneMatch: true, ContentType: contentType(key)})
	if !errors.Is(err, dg.ErrConflict) {
		return err
	}
	stored, _, err := r.store.Get(ctx, r.bucket, key)
	if err != nil {
		return err
	}
	if string(stored) != string(content) {
		return fmt.Errorf("%s is stored with other contents than its name says: %w", key, dg.ErrConflict)
	}
	return nil
}

func contentType(key string) string {
	switch {
	case strings.HasSuffix(key, ".json"):
		return "application/json"
	case strings.HasSuffix(key, ".txt"):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// Load fetches an artifact and checks, before anything of it is decoded, that
// it is signed by a trusted key where the configuration asks for one, and that
// its contents give its name. It is [dg.ErrNotFound] when there is none,
// [dg.ErrRefused] when the signature is missing or not trusted, and
// [dg.ErrInvalid] when it was altered.
func (r *Registry) Load(ctx context.Context, ref dg.ModelRef) (*network.Artifact, error) {
	return r.load(ctx, ref, r.o.Keys)
}

func (r *Registry) load(ctx context.Context, ref dg.ModelRef, keys Keys) (*network.Artifact, error) {
	contents, _, err := r.read(ctx, ref, keys)
	if err != nil {
		return nil, err
	}
	a, _, err := network.ReadArtifact(contents)
	if err != nil {
		return nil, fmt.Errorf("registry: load %s: %w", ref.Short(), err)
	}
	return a, nil
}

// read fetches the files of an artifact, verified as Load promises, and its
// signature, nil when it has none.
func (r *Registry) read(ctx context.Context, ref dg.ModelRef, keys Keys) (contents map[string][]byte, signature []byte, err error) {
	if err := validRef(ref); err != nil {
		return nil, nil, fmt.Errorf("registry: load: %w", err)
	}
	fail := func(err error) (map[string][]byte, []byte, error) {
		return nil, nil, fmt.Errorf("registry: load %s: %w", ref.Short(), err)
	}
	manifest, _, err := r.store.Get(ctx, r.bucket, artifactKey(ref, network.ManifestFile)) // first: without it there is no artifact
	if err != nil {
		return fail(err)
	}
	signature, _, err = r.store.Get(ctx, r.bucket, artifactKey(ref, network.SignatureFile))
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return fail(err)
	}
	if err := keys.check(ref, signature); err != nil {
		return fail(err)
	}
	names, err := network.FilesOf(manifest)
	if err != nil {
		return fail(err)
	}
	contents = map[string][]byte{network.ManifestFile: manifest}
	for _, file := range names {
		if file == network.ManifestFile {
			continue
		}
		if contents[file], _, err = r.store.Get(ctx, r.bucket, artifactKey(ref, file)); err != nil {
			return fail(err)
		}
	}
	if got := network.Digest(contents); got != ref {
		return fail(fmt.Errorf("the contents are those of %s: altered or misplaced: %w", got.Short(), dg.ErrInvalid))
	}
	return contents, signature, nil
}

// classifier loads an artifact and runs its self-test.
func (r *Registry) classifier(ctx context.Context, ref dg.ModelRef) (*network.Classifier, error) {
	return r.tested(ctx, ref, r.o.Keys)
}

func (r *Registry) tested(ctx context.Context, ref dg.ModelRef, keys Keys) (*network.Classifier, error) {
	a, err := r.load(ctx, ref, keys)
	if err != nil {
		return nil, err
	}
	c, err := network.NewClassifier(a)
	if err != nil {
		return nil, fmt.Errorf("registry: load %s: %w", ref.Short(), err)
	}
	return c, nil
}

// ONNX returns a model as ONNX: its model.onnx, or, for one of format 1, the
// same made on demand.
func (r *Registry) ONNX(ctx context.Context, ref dg.ModelRef) ([]byte, error) {
	contents, _, err := r.read(ctx, ref, r.o.Keys)
	if err != nil {
		return nil, err
	}
	if graph, ok := contents[network.ONNXFile]; ok {
		return graph, nil
	}
	a, _, err := network.ReadArtifact(contents)
	if err != nil {
		return nil, fmt.Errorf("registry: load %s: %w", ref.Short(), err)
	}
	return network.ONNX(a)
}

// UploadOldStyle copies a model's files to model/{2006-01-02-15:04:05}_{file} in
// the models bucket, the way the MobileNet lab keeps them before and after a
// training, and returns the keys. at is the training's start or end; a
// repetition with the same time is no error.
func (r *Registry) UploadOldStyle(ctx context.Context, ref dg.ModelRef, at time.Time) ([]string, error) {
	contents, _, err := r.read(ctx, ref, r.o.Keys)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, file := range slices.Sorted(maps.Keys(contents)) {
		key := oldStyle + at.UTC().Format("2006-01-02-15:04:05") + "_" + file
		if err := r.saveFile(ctx, key, contents[file]); err != nil {
			return nil, fmt.Errorf("registry: upload %s old style: %w", ref.Short(), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

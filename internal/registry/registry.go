// Package registry keeps models in a bucket: immutable artifacts named by the
// digest of their contents, and one champion record that every server follows.
//
//	artifacts/HEX/{weights.safetensors,model.onnx,labels.txt,manifest.json}
//	artifacts/HEX/signature.json  who vouches for it; not part of the digest
//	artifacts/HEX/deleting.json   it is being deleted
//	champion.json                 the record; moved by compare-and-swap only
//	history/00000007.json         what the record was, one for each generation
//	exposure.json                 the challenger tried on production; moved likewise
//	exposures/00000003.json       what that record was
//	holds/HEX/RANDOM              somebody is making it champion right now: not to be deleted
//	model/{time}_{file}           copies in the old style, on request
//
// The manifest is written last: without it there is no artifact. An artifact is
// loaded only if it is signed as the configuration asks and its contents give
// its name, and becomes champion only if its self-test comes out. The champion
// record is the one truth; history follows it and is completed by the next
// promotion when a crash came in between.
//
// The registry judges nothing: who promotes has asked the evaluator, or is a
// person who may.
package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

const (
	artifacts   = "artifacts/"
	history     = "history/"
	championKey = "champion.json"

	exposureHistory = "exposures/"
	exposureKey     = "exposure.json"

	holds    = "holds/"
	oldStyle = "model/"

	refPrefix    = "sha256:"
	digits       = 64      // of a digest
	minPrefix    = 4       // digits that may stand for a whole name
	maxRecord    = 1 << 20 // bytes of a champion or history record
	maxManifests = 256     // manifests kept in memory for lists
)

// The roles of a model.
const (
	RoleChampion  = "champion"
	RolePrevious  = "previous"
	RoleCandidate = "candidate"
)

// Options configure a registry.
type Options struct {
	Model      string // the model's name; goes into the champion record
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Keys       Keys                  // who signs, and whose signature is asked for
}

// Registry is one model's artifacts and champion record. It is safe for
// concurrent use, by any number of processes on one bucket.
type Registry struct {
	store   *objstore.Store
	bucket  string
	o       Options
	log     *slog.Logger
	metrics *metrics
	wall    func() time.Time // the store's clock, whatever Options.Now plays

	mu        sync.Mutex
	manifests map[dg.ModelRef]network.Manifest
}

// New returns the registry in the bucket, which must exist.
func New(store *objstore.Store, bucket string, o Options) *Registry {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registry{store: store, bucket: bucket, o: o, log: o.Logger.With("component", "registry"),
		metrics: newMetrics(o.Registerer, o.Model), wall: time.Now, manifests: map[dg.ModelRef]network.Manifest{}}
}

// validRef demands "sha256:" and 64 hex digits; the error is [dg.ErrInvalid].
func validRef(ref dg.ModelRef) error {
	name, ok := strings.CutPrefix(string(ref), refPrefix)
	if !ok || len(name) != digits || !isHex(name) {
		return fmt.Errorf("model %.80q: want %s and %d hex digits: %w", string(ref), refPrefix, digits, dg.ErrInvalid)
	}
	return nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s + strings.Repeat("0", len(s)%2))
	return err == nil && s == strings.ToLower(s)
}

// Resolve turns what a person types into a model's name: "champion",
// "previous", "latest", a whole name, or the first four or more of its digits.
// It is [dg.ErrNotFound] when nothing fits, [dg.ErrInvalid] when several do.
func (r *Registry) Resolve(ctx context.Context, short string) (dg.ModelRef, error) {
	ref, err := r.resolve(ctx, short)
	if err != nil {
		return "", fmt.Errorf("registry: resolve %.80q: %w", short, err)
	}
	return ref, nil
}

func (r *Registry) resolve(ctx context.Context, short string) (dg.ModelRef, error) {
	switch short {
	case RoleChampion, RolePrevious:
		c, err := r.Champion(ctx)
		switch {
		case err != nil:
			return "", err
		case short == RoleChampion:
			return c.Version, nil
		case c.Previous == "":
			return "", fmt.Errorf("no champion before %s: %w", c.Version.Short(), dg.ErrNotFound)
		}
		return c.Previous, nil
	case "latest":
		found, err := r.saved(ctx, "")
		if err != nil {
			return "", err
		}
		if len(found) == 0 {
			return "", fmt.Errorf("no model is saved: %w", dg.ErrNotFound)
		}
		return found[0].ref, nil
	}
	prefix := strings.ToLower(strings.TrimPrefix(short, refPrefix))
	if len(prefix) < minPrefix || len(prefix) > digits || !isHex(prefix) {
		return "", fmt.Errorf("want champion, previous, latest, or %d to %d hex digits: %w", minPrefix, digits, dg.ErrInvalid)
	}
	found, err := r.saved(ctx, prefix)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", fmt.Errorf("no such model: %w", dg.ErrNotFound)
	case len(found) > 1:
		return "", fmt.Errorf("%d models begin like that, %s and %s for two: give more digits: %w", len(found), found[0].ref.Short(), found[1].ref.Short(), dg.ErrInvalid)
	}
	return found[0].ref, nil
}

// Entry is one saved model.
type Entry struct {
	Ref      dg.ModelRef
	Role     string // RoleChampion, RolePrevious or RoleCandidate
	Manifest network.Manifest
	SavedAt  time.Time
}

// Models lists the saved models, newest first. One whose manifest cannot be
// read is left out and logged.
func (r *Registry) Models(ctx context.Context) ([]Entry, error) {
	c, err := r.Champion(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return nil, err
	}
	found, err := r.saved(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("registry: list models: %w", err)
	}
	entries := make([]Entry, 0, len(found))
	for _, s := range found {
		m, err := r.manifest(ctx, s.ref)
		if errors.Is(err, dg.ErrInvalid) || errors.Is(err, dg.ErrNotFound) {
			r.log.Warn("model left out of the list", "version", s.ref.Short(), "error", err)
			continue
		} else if err != nil {
			return nil, fmt.Errorf("registry: list models: %w", err)
		}
		role := RoleCandidate
		switch s.ref {
		case c.Version:
			role = RoleChampion
		case c.Previous:
			role = RolePrevious
		}
		entries = append(entries, Entry{Ref: s.ref, Role: role, Manifest: m, SavedAt: s.at})
	}
	return entries, nil
}

type savedModel struct {
	ref dg.ModelRef
	at  time.Time
}

// saved lists the artifacts whose digests begin with prefix, newest first.
func (r *Registry) saved(ctx context.Context, prefix string) ([]savedModel, error) {
	var found []savedModel
	for o, err := range r.store.List(ctx, r.bucket, artifacts+prefix, false) {
		if err != nil {
			return nil, err
		}
		name, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, artifacts), "/"+network.ManifestFile)
		if ref := dg.ModelRef(refPrefix + name); ok && validRef(ref) == nil {
			found = append(found, savedModel{ref, o.Modified.UTC()})
		}
	}
	slices.SortStableFunc(found, func(a, b savedModel) int { return b.at.Compare(a.at) })
	return found, nil
}

// manifest reads a manifest for a list, once: artifacts never change. Only Load
// checks it against its name.
func (r *Registry) manifest(ctx context.Context, ref dg.ModelRef) (network.Manifest, error) {
	r.mu.Lock()
	m, ok := r.manifests[ref]
	r.mu.Unlock()
	if ok {
		return m, nil
	}
	b, _, err := r.store.Get(ctx, r.bucket, artifactKey(ref, network.ManifestFile))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("manifest of %s: %w: %w", ref.Short(), err, dg.ErrInvalid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.manifests) >= maxManifests {
		clear(r.manifests)
	}
	r.manifests[ref] = m
	return m, nil
}

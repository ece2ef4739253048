package dataset

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	dg "driftgate"
)

// Store is all that saving and loading asks of a bucket. Get of a missing key
// is [dg.ErrNotFound]; Keys lists in key order.
type Store interface {
	Put(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	Keys(ctx context.Context, prefix string) ([]string, error)
}

// Ref names a stored set: name@ and the first twelve digits of its fingerprint.
type Ref string

// Ref is the name under which [Save] stores s.
func (s Set) Ref() Ref { return newRef(s.Name, s.Fingerprint()) }

func newRef(name, fingerprint string) Ref { return Ref(name + "@" + fingerprint[:12]) }

var (
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	refForm  = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]{0,62})@([0-9a-f]{12})$`)
)

// ValidName reports whether a set may be stored under name; the error is
// [dg.ErrInvalid].
func ValidName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("dataset: name %q: want 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit: %w", name, dg.ErrInvalid)
	}
	return nil
}

// ParseRef splits a ref into name and short fingerprint; the error is
// [dg.ErrInvalid].
func ParseRef(ref Ref) (name, fingerprint string, err error) {
	m := refForm.FindStringSubmatch(string(ref))
	if m == nil {
		return "", "", fmt.Errorf("dataset: ref %q: want name@ and 12 hex digits: %w", ref, dg.ErrInvalid)
	}
	return m[1], m[2], nil
}

// Info is the manifest of a stored set, manifest.json beside its files. It is
// written last: without it the set is not there.
//
// The files are gzipped IDX of unsigned bytes: images with the dimensions
// N, height, width for grey and N, height, width, 3 for colour, labels with N,
// or N, 2 (big-endian) when there are more than 256 classes; ids are text, one
// a line.
type Info struct {
	Format      int        `json:"format"` // 1
	Name        string     `json:"name"`
	Fingerprint string     `json:"fingerprint"` // SHA-256, hex
	Classes     dg.Classes `json:"classes"`
	Height      int        `json:"height"` // pixels
	Width       int        `json:"width"`
	Channels    int        `json:"channels"`
	Resize      string     `json:"resize,omitempty"`
	Train       int        `json:"train"` // images
	Test        int        `json:"test"`
	IDsDigest   string     `json:"ids_digest"` // SHA-256, hex, over the ids of both splits
}

// Ref is the stored set's name.
func (i Info) Ref() Ref { return newRef(i.Name, i.Fingerprint) }

const manifestName = "manifest.json"

// folder is where a set's files are: "<name>/<first 12 of the fingerprint>/".
func (i Info) folder() string { return i.Name + "/" + i.Fingerprint[:12] + "/" }

func (s Set) info() Info {
	return Info{
		Format: 1, Name: s.Name, Fingerprint: s.Fingerprint(), Classes: s.Classes, Height: s.Height, Width: s.Width,
		Channels: s.Channels, Resize: s.Resize, Train: s.Train.Len(), Test: s.Test.Len(), IDsDigest: s.idsDigest(),
	}
}

func (s Set) idsDigest() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q\n%q\n", s.Train.IDs, s.Test.IDs))
	return hex.EncodeToString(sum[:])
}

// structural is what a set must hold to come back as it was: no rule of balance
// or leakage, which are for [Validate] at ingest.
var structural = Rules{MinPerClass: -1, MaxLeak: 1, MaxDoubles: 1}

// Save stores a set. Saving the same again changes nothing. A set whose shape,
// labels or ids make no sense is not stored; the error is then [dg.ErrInvalid].
func Save(ctx context.Context, st Store, s Set) (Ref, error) {
	if err := errors.Join(ValidName(s.Name), Validate(s, structural).Err()); err != nil {
		return "", err
	}
	info := s.info()
	fail := func(err error) (Ref, error) {
		return "", fmt.Errorf("dataset: save %s: %w", info.Ref(), err)
	}
	switch _, err := st.Get(ctx, info.folder()+manifestName); {
	case err == nil:
		return info.Ref(), nil
	case !errors.Is(err, dg.ErrNotFound):
		return fail(err)
	}
	for _, part := range []struct {
		name string
		Split
	}{{"train", s.Train}, {"test", s.Test}} {
		files, err := s.encode(part.Split)
		if err != nil {
			return fail(err)
		}
		for _, name := range fileNames {
			if err := st.Put(ctx, info.folder()+part.name+"-"+name, files[name]); err != nil {
				return fail(err)
			}
		}
	}
	manifest, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fail(err)
	}
	if err := st.Put(ctx, info.folder()+manifestName, append(manifest, '\n')); err != nil {
		return fail(err)
	}
	return info.Ref(), nil
}

const (
	imagesName = "images.idx.gz"
	labelsName = "labels.idx.gz"
	idsName    = "ids.txt.gz"
)

var fileNames = []string{imagesName, labelsName, idsName}

// encode renders one split as its three files.
func (s Set) encode(sp Split) (map[string][]byte, error) {
	images := IDX{Dims: []int{sp.Len(), s.Height, s.Width}, Data: sp.Pixels}
	if s.Channels != 1 {
		images.Dims = append(images.Dims, s.Channels)
	}
	labels := IDX{Dims: []int{sp.Len()}}
	if wideLabels(s.Classes) {
		labels.Dims = append(labels.Dims, 2)
	}
	for _, l := range sp.Labels {
		if len(labels.Dims) == 2 {
			labels.Data = append(labels.Data, byte(l>>8))
		}
		labels.Data = append(labels.Data, byte(l))
	}
	imageFile, err1 := images.Bytes()
	labelFile, err2 := labels.Bytes()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	var errs []error
	for name, plain := range map[string][]byte{imagesName: imageFile, labelsName: labelFile, idsName: []byte(strings.Join(sp.IDs, "\n"))} {
		b, err := compress(plain, gzip.BestSpeed)
		out[name], errs = b, append(errs, err)
	}
	return out, errors.Join(errs...)
}

func wideLabels(c dg.Classes) bool { return len(c) > 256 }

// Load reads a stored set and verifies shape and fingerprint: what comes back
// is what was saved. An unknown ref is [dg.ErrNotFound], a damaged set
// [dg.ErrInvalid].
func Load(ctx context.Context, st Store, ref Ref) (Set, error) {
	fail := func(err error) (Set, error) { return Set{}, fmt.Errorf("dataset: load %s: %w", ref, err) }
	name, short, err := ParseRef(ref)
	if err != nil {
		return Set{}, err
	}
	info, err := readInfo(ctx, st, name+"/"+short+"/"+manifestName)
	if err != nil {
		return fail(err)
	}
	s := Set{Name: info.Name, Classes: info.Classes, Height: info.Height, Width: info.Width, Channels: info.Channels, Resize: info.Resize}
	for _, part := range []struct {
		name string
		n    int
		to   *Split
	}{{"train", info.Train, &s.Train}, {"test", info.Test, &s.Test}} {
		if *part.to, err = s.loadSplit(ctx, st, info.folder()+part.name+"-", part.n); err != nil {
			return fail(err)
		}
	}
	if got := s.Fingerprint(); got != info.Fingerprint {
		return fail(fmt.Errorf("the content's fingerprint is %s, the manifest says %s: the stored set was changed or damaged: %w", got, info.Fingerprint, dg.ErrInvalid))
	}
	if s.idsDigest() != info.IDsDigest {
		return fail(fmt.Errorf("the ids are not those of the manifest: the stored set was changed or damaged: %w", dg.ErrInvalid))
	}
	return s, nil
}

func (s Set) loadSplit(ctx context.Context, st Store, prefix string, n int) (Split, error) {
	dims := []int{n, s.Height, s.Width}
	if s.Channels != 1 {
		dims = append(dims, s.Channels)
	}
	images, err := loadIDX(ctx, st, prefix+imagesName, dims)
	if err != nil {
		return Split{}, err
	}
	labels, err := loadLabels(ctx, st, prefix+labelsName, n, s.Classes)
	if err != nil {
		return Split{}, err
	}
	ids, err := loadIDs(ctx, st, prefix+idsName, n)
	if err != nil {
		return Split{}, err
	}
	return Split{Pixels: images, Labels: labels, IDs: ids}, nil
}

func loadLabels(ctx context.Context, st Store, key string, n int, classes dg.Classes) ([]uint16, error) {
	dims := []int{n}
	if wideLabels(classes) {
		dims = append(dims, 2)
	}
	b, err := loadIDX(ctx, st, key, dims)
	if err != nil {
		return nil, err
	}
	labels := make([]uint16, n)
	for i := range labels {
		if labels[i] = uint16(b[i*len(b)/n]); len(dims) == 2 {
			labels[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
		if int(labels[i]) >= len(classes) {
			return nil, fmt.Errorf("%s: label %d at %d: want below %d: %w", key, labels[i], i, len(classes), dg.ErrInvalid)
		}
	}
	return labels, nil
}

func loadIDX(ctx context.Context, st Store, key string, dims []int) ([]byte, error) {
	b, err := st.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	x, err := ReadIDX(b)
	if err == nil && !slices.Equal(x.Dims, dims) {
		err = fmt.Errorf("dimensions %v, the manifest says %v: %w", x.Dims, dims, dg.ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return x.Data, nil
}

func loadIDs(ctx context.Context, st Store, key string, n int) ([]string, error) {
	b, err := st.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	text, err := gunzip(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", key, err, dg.ErrInvalid)
	}
	var ids []string
	if len(text) > 0 {
		ids = strings.Split(string(text), "\n")
	}
	if len(ids) != n {
		return nil, fmt.Errorf("%s: %d ids, the manifest says %d: %w", key, len(ids), n, dg.ErrInvalid)
	}
	return ids, nil
}

// readInfo reads and checks one manifest against its place.
func readInfo(ctx context.Context, st Store, key string) (Info, error) {
	b, err := st.Get(ctx, key)
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(b, &info); err != nil {
		return Info{}, fmt.Errorf("%s: %w: %w", key, err, dg.ErrInvalid)
	}
	bad := func(err error) (Info, error) { return Info{}, fmt.Errorf("%s: %w: %w", key, err, dg.ErrInvalid) }
	switch {
	case info.Format != 1:
		return bad(fmt.Errorf("format %d: this driftgate reads 1", info.Format))
	case len(info.Fingerprint) != 64 || info.folder()+manifestName != key:
		return bad(fmt.Errorf("name %q and fingerprint %q do not belong here", info.Name, info.Fingerprint))
	case info.Train < 0 || info.Test < 0 || info.Height < 1 || info.Width < 1 || info.Channels != 1 && info.Channels != 3:
		return bad(errors.New("the shape makes no sense"))
	}
	if err := info.Classes.Validate(); err != nil {
		return bad(err)
	}
	return info, nil
}

// List returns the stored sets by name and fingerprint. Sets without a
// manifest, as an interrupted Save leaves them, are left out; a broken manifest
// is an error.
func List(ctx context.Context, st Store) ([]Info, error) {
	keys, err := st.Keys(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("dataset: list: %w", err)
	}
	var out []Info
	for _, key := range keys {
		if parts := strings.Split(key, "/"); len(parts) != 3 || parts[2] != manifestName {
			continue
		}
		info, err := readInfo(ctx, st, key)
		if err != nil {
			return nil, fmt.Errorf("dataset: list: %w", err)
		}
		out = append(out, info)
	}
	return out, nil
}

package evaluator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
)

// suite is an open suite: its samples, and how to see them.
type suite struct {
	Suite
	key        string // under which predictions on it are kept
	samples    []sample
	population []dg.StratumCount // what they stand for; nil: all weigh alike
	foreign    int               // left out for a label outside the class list
	drifted    bool              // its images are not as they were taken
	notes      []string          // what a reader must know of it

	// file reads an image as it is stored; nil where images are no files. open
	// makes ready to see the images.
	file func(ctx context.Context, s sample) ([]byte, error)
	open func(ctx context.Context) (see, error)
}

// see returns the image of a sample. [dg.ErrInvalid] and [dg.ErrNotFound] are
// faults of that image; any other is the store's.
type see func(ctx context.Context, s sample) (image.Image, error)

// sample is one image of a suite.
type sample struct {
	id, label string
	key       string // where the image lies in its bucket, or below its folder; a position for those of a dataset
	at        int    // its position in the dataset
	stratum   dg.Stratum
	interval  time.Time // start of its curate interval
	predicted time.Time // when production asked for it; zero elsewhere
}

// maxListed bounds the objects of a special suite, before any are drawn.
const maxListed = 1_000_000

// open opens the suite of a rule for versions of one class list.
func (e *Evaluator) open(ctx context.Context, vs []*version, rule SuiteRule, iv dg.Interval) (suite, error) {
	var s suite
	var err error
	switch rule.Name {
	case KindHeldout:
		s, err = e.heldout(ctx, vs, iv)
	case KindTest:
		s, err = e.tested(ctx, vs, dataset.Ref(vs[0].Manifest.Dataset))
		s.Kind, s.notes = KindTest, otherDatasets(vs)
	default:
		s, err = e.special(ctx, vs, rule)
		s.Kind = KindSpecial
	}
	s.Name, s.Floor = rule.Name, rule.Floor
	return s, err
}

// otherDatasets warns of versions that learned from another dataset than the
// one whose test split is taken.
func otherDatasets(vs []*version) (notes []string) {
	for _, v := range vs[1:] {
		if d := v.Manifest.Dataset; d != vs[0].Manifest.Dataset {
			notes = append(notes, fmt.Sprintf("the test suite is that of %s, the dataset of %s; %s learned from %s, which may hold images of it under other names",
				vs[0].Manifest.Dataset, vs[0].ref.Short(), v.ref.Short(), d))
		}
	}
	return notes
}

// seen is what any of the versions was trained on.
func seen(vs []*version) map[string]bool {
	n := 0
	for _, v := range vs {
		n += len(v.Manifest.TrainedOn)
	}
	out := make(map[string]bool, n)
	for _, v := range vs {
		for _, id := range v.Manifest.TrainedOn {
			out[id] = true
			out[path.Base(id)] = true // a base dataset made of a bucket has its ids below folders
		}
	}
	return out
}

// chosen are the holdout shares of the versions whose training left labelled
// samples out because others taught it more. What they left out is what the
// model was sure of, so it may not stand for the rest: only what was held out
// by lot does.
func chosen(vs []*version) (shares []float64) {
	for _, v := range vs {
		if c := v.Manifest.Composition; c != nil && c.Active.LeftOut > 0 {
			shares = append(shares, c.Evaluation.Holdout)
		}
	}
	return shares
}

// heldByAll reports whether every one of the shares holds the id out.
func heldByAll(id string, shares []float64) bool {
	return !slices.ContainsFunc(shares, func(share float64) bool { return !dg.Held(id, share) })
}

// heldout is the labelled samples of iv in no manifest, by id, at most MaxPairs
// drawn by a hash of their own.
func (e *Evaluator) heldout(ctx context.Context, vs []*version, iv dg.Interval) (suite, error) {
	s := suite{Suite: Suite{Name: KindHeldout, Kind: KindHeldout, Weighted: true}, key: KindHeldout}
	picks, err := e.Labels.Picks(ctx, "", iv)
	if err != nil {
		return s, err
	}
	design := make(map[string]ledger.Pick, len(picks))
	for _, p := range picks {
		design[p.ID] = p
	}
	trained, shares, classes := seen(vs), chosen(vs), vs[0].Manifest.Classes
	for r, err := range e.Labels.Labelled(ctx, iv) {
		if err != nil {
			return s, err
		}
		id := r.ID()
		p, known := design[id]
		if trained[id] || !known || !heldByAll(id, shares) || r.LabelSource == dg.ProxyLabel {
			s.Left++
			continue // unknown: labelled between the two reads; it counts next time. A proxy label is the model's own answer.
		}
		class := classes.Index(r.Label)
		if class < 0 {
			s.foreign++
			continue
		}
		s.samples = append(s.samples, sample{id: id, label: r.Label, key: dg.SampleKey(class, id), stratum: p.Stratum, interval: p.Interval, predicted: r.Timestamp})
	}
	if s.population, err = e.Labels.Counts(ctx, "", iv); err != nil {
		return s, err
	}
	if s.population == nil {
		s.population = []dg.StratumCount{} // none is known, which is not the same as that all weigh alike
	}
	s.draw(e.o.withDefaults().MaxPairs)
	e.fromFiles(&s, e.fromBucket(e.Buckets.Clean))
	return s, nil
}

// draw keeps at most n samples, by a hash that knows neither the answers nor
// the holdout, in the order of their ids.
func (s *suite) draw(n int) {
	if len(s.samples) > n {
		type lot struct {
			sample
			hash [sha256.Size]byte
		}
		lots := make([]lot, len(s.samples))
		for i, x := range s.samples {
			lots[i] = lot{x, sha256.Sum256([]byte("evaluate\x00" + x.id))}
		}
		slices.SortFunc(lots, func(a, b lot) int { return bytes.Compare(a.hash[:], b.hash[:]) })
		s.Left += len(lots) - n
		s.samples = make([]sample, n)
		for i, l := range lots[:n] {
			s.samples[i] = l.sample
		}
	}
	slices.SortFunc(s.samples, func(a, b sample) int { return cmp.Compare(a.id, b.id) })
	s.Left += s.foreign
}

// fromBucket reads images by their key in a bucket.
func (e *Evaluator) fromBucket(bucket string) func(context.Context, sample) ([]byte, error) {
	return func(ctx context.Context, s sample) ([]byte, error) {
		body, _, err := e.Images.Get(ctx, bucket, s.key)
		if err != nil {
			return nil, fmt.Errorf("image %s/%s: %w", bucket, s.key, err)
		}
		return body, nil
	}
}

// fromFiles makes a suite of image files.
func (e *Evaluator) fromFiles(s *suite, file func(context.Context, sample) ([]byte, error)) {
	s.file = file
	s.open = func(context.Context) (see, error) {
		return func(ctx context.Context, s sample) (image.Image, error) {
			body, err := file(ctx, s)
			if err != nil {
				return nil, err
			}
			img, _, err := dataset.Decode(body, e.o.withDefaults().Limits)
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", s.key, err)
			}
			return img, nil
		}, nil
	}
}

// tested is the test split of a stored dataset.
func (e *Evaluator) tested(ctx context.Context, vs []*version, ref dataset.Ref) (suite, error) {
	s := suite{Suite: Suite{Source: string(ref)}, key: "test@" + string(ref)}
	if e.Datasets == nil {
		return s, fmt.Errorf("no datasets are at hand: %w", dg.ErrNotFound)
	}
	split, err := dataset.OpenTest(ctx, e.Datasets, ref)
	if err != nil {
		return s, err
	}
	s.Digest = split.Fingerprint
	trained, classes := seen(vs), vs[0].Manifest.Classes
	for i, id := range split.IDs {
		label := split.Classes[split.Labels[i]]
		switch {
		case classes.Index(label) < 0:
			s.foreign++
		case trained[id]:
			s.Left++
		default:
			s.samples = append(s.samples, sample{id: id, label: label, at: i})
		}
	}
	s.draw(e.o.withDefaults().MaxPairs)
	s.open = func(ctx context.Context) (see, error) {
		px, err := e.pixels.of(ctx, split)
		if err != nil {
			return nil, err
		}
		n := split.Height * split.Width * split.Channels
		return func(_ context.Context, s sample) (image.Image, error) {
			return dataset.FromPixels(px[s.at*n:(s.at+1)*n], split.Height, split.Width, split.Channels)
		}, nil
	}
	return s, nil
}

// pixels keeps the images of the test split that was opened last, for a while: a
// gallery asks for them one by one.
type pixels struct {
	mu     sync.Mutex
	ref    dataset.Ref
	px     []byte
	forget *time.Timer
}

// What is kept of pixels.
const (
	maxPixels  = 256 << 20 // bytes
	keepPixels = 2 * time.Minute
)

func (p *pixels) of(ctx context.Context, split *dataset.TestSplit) ([]byte, error) {
	p.mu.Lock() // the others wait: several loads at once would take several times the memory
	defer p.mu.Unlock()
	if p.forget != nil {
		p.forget.Stop()
	}
	if p.ref != split.Ref() {
		px, err := split.Pixels(ctx)
		if err != nil || len(px) > maxPixels {
			return px, err
		}
		p.ref, p.px = split.Ref(), px
	}
	p.forget = time.AfterFunc(keepPixels, p.drop)
	return p.px, nil
}

// drop forgets the images.
func (p *pixels) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ref, p.px = "", nil
}

// special is any folder of class folders, bucket prefix, or stored dataset.
func (e *Evaluator) special(ctx context.Context, vs []*version, rule SuiteRule) (suite, error) {
	if _, _, err := dataset.ParseRef(dataset.Ref(rule.Source)); err == nil {
		return e.tested(ctx, vs, dataset.Ref(rule.Source))
	}
	s := suite{Suite: Suite{Source: rule.Source}}
	var found []listed
	var err error
	if filepath.IsAbs(rule.Source) || strings.HasPrefix(rule.Source, "./") || strings.HasPrefix(rule.Source, "../") {
		found, err = listFolder(rule.Source)
		e.fromFiles(&s, e.fromFolder)
	} else {
		bucket, prefix, _ := strings.Cut(rule.Source, "/")
		if bucket == "datasets" {
			bucket = e.Buckets.Datasets
		}
		if prefix != "" && !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		found, err = e.listBucket(ctx, bucket, prefix)
		e.fromFiles(&s, e.fromBucket(bucket))
	}
	if err != nil {
		return s, fmt.Errorf("source %q: %w", rule.Source, err)
	}
	sum := sha256.New()
	trained, label := seen(vs), dataset.Labeller(vs[0].Manifest.Classes)
	for _, f := range found {
		fmt.Fprintf(sum, "%q %q\n", f.rel, f.mark)
		switch l := folderLabel(f.rel, label); {
		case l == "":
			s.foreign++
		case trained[path.Base(f.rel)] || trained[f.rel]:
			s.Left++
		default:
			s.samples = append(s.samples, sample{id: f.rel, label: l, key: f.key})
		}
	}
	s.Digest = hex.EncodeToString(sum.Sum(nil))
	s.key = "special@" + s.Digest
	if len(s.samples) == 0 {
		return s, fmt.Errorf("source %q: %d files, none of them an image in a folder named by one of the classes %q (or class_00, ...): %w",
			rule.Source, len(found), []string(vs[0].Manifest.Classes), dg.ErrNotFound)
	}
	s.draw(e.o.withDefaults().MaxPairs)
	return s, nil
}

// folderLabel is the class that a file's folders name: the first, or, as in a
// bucket a label may hold a slash, the first two.
func folderLabel(rel string, label func(string) string) string {
	first, rest, _ := strings.Cut(rel, "/")
	if l := label(first); l != "" && rest != "" {
		return l
	}
	second, rest, _ := strings.Cut(rest, "/")
	if rest == "" {
		return ""
	}
	return label(first + "/" + second)
}

// listed is one file of a special suite.
type listed struct {
	key  string // by which it is read
	rel  string // CLASS/NAME
	mark string // changes when the file does
}

// listBucket lists the objects under a prefix; their mark is the ETag.
func (e *Evaluator) listBucket(ctx context.Context, bucket, prefix string) (out []listed, err error) {
	for o, err := range e.Images.List(ctx, bucket, prefix, false) {
		if err != nil {
			return nil, err
		}
		if len(out) >= maxListed {
			return nil, fmt.Errorf("more than %d objects: %w", maxListed, dg.ErrInvalid)
		}
		out = append(out, listed{o.Key, strings.TrimPrefix(o.Key, prefix), o.ETag})
	}
	return out, nil
}

// listFolder lists the files below a folder; their mark is size and time of
// change. Hidden files and what is no file are passed over.
func listFolder(dir string) (out []listed, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		hidden := name != dir && strings.HasPrefix(d.Name(), ".")
		switch {
		case err != nil:
			return err
		case d.IsDir() && hidden:
			return fs.SkipDir
		case !d.Type().IsRegular() || hidden:
			return nil
		case len(out) >= maxListed:
			return fmt.Errorf("more than %d files: %w", maxListed, dg.ErrInvalid)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		out = append(out, listed{name, filepath.ToSlash(rel), fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())})
		return err
	})
	if os.IsNotExist(err) {
		err = fmt.Errorf("%w: %w", err, dg.ErrNotFound)
	}
	return out, err
}

// fromFolder reads images by their file name.
func (e *Evaluator) fromFolder(_ context.Context, s sample) ([]byte, error) {
	return dataset.ReadImageFile(s.key, e.o.withDefaults().Limits)
}

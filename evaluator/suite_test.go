package evaluator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// heap lays 30 test images of the shop into class folders, by the given names of
// the classes, and returns their files by name.
func (s *shop) heap(t *testing.T, folder func(class int) string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for i := range 30 {
		out[fmt.Sprintf("%s/%03d.png", folder(int(s.set.Test.Labels[i])), i)] = s.png(t, i)
	}
	return out
}

func numbered(class int) string { return fmt.Sprintf("class_%02d", class) }

// TestASpecialSuiteIsAnyFolderOrPrefix puts the same images where a suite can
// come from; each must give the same figures.
func TestASpecialSuiteIsAnyFolderOrPrefix(t *testing.T) {
	s := newShop(t)
	dir := t.TempDir()
	for name, body := range s.heap(t, func(class int) string { return strings.ReplaceAll(s.set.Classes[class], "/", "-") }) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, body, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, ".hidden"), nil, 0o644), os.WriteFile(filepath.Join(dir, "README"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, body := range s.heap(t, func(class int) string { return s.set.Classes[class] }) { // a slash in a label
		s.shelf.objects[buckets.Datasets+"/odd/"+name] = body
	}
	for name, body := range s.heap(t, numbered) {
		s.shelf.objects["elsewhere/"+name] = body
	}
	s.shelf.objects["elsewhere/class_77/x.png"] = s.png(t, 0) // no such class
	split := s.set
	split.Name = "thirty"
	split.Test = dataset.Split{Pixels: split.Test.Pixels[:30*split.ImageBytes()], Labels: split.Test.Labels[:30], IDs: split.Test.IDs[:30]}
	ref, err := dataset.Save(t.Context(), s.Datasets, split)
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{"folder": dir, "prefix": "datasets/odd", "bucket": "elsewhere/", "stored": string(ref)}
	var rules []SuiteRule
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		rules = append(rules, SuiteRule{Name: name, Source: sources[name], Floor: .6})
	}
	e := s.evaluator(Options{Gate: Gate{Suites: rules}})
	r, err := e.Report(t.Context(), baseRef, day)
	if err != nil {
		t.Fatal(err)
	}
	want := suiteOf(t, r, "stored")
	for name := range sources {
		got := suiteOf(t, r, name)
		if got.Fault != "" || got.Samples != 30 || got.Accuracy != want.Accuracy || got.Kind != KindSpecial || got.Floor != .6 || got.Weighted || got.Digest == "" {
			t.Errorf("%s: %+v accuracy %+v, want that of the stored set, %+v", name, got.Suite, got.Accuracy, want.Accuracy)
		}
	}
	if left := suiteOf(t, r, "bucket").Left; left != 1 {
		t.Errorf("%d left out, want the one of no known class", left)
	}
	for _, suite := range []string{"folder", "prefix"} {
		page, err := e.Discordant(t.Context(), baseRef, harmedRef, day, suite, OnlyA, "", 0)
		if err != nil || len(page) == 0 {
			t.Fatalf("%s: %d, %v", suite, len(page), err)
		}
		if body, kind, err := e.Picture(t.Context(), baseRef, suite, page[0].ID); err != nil || kind != "image/png" || len(body) == 0 {
			t.Errorf("picture of %+v: %s, %v", page[0], kind, err)
		}
	}
}

func TestASuiteThatChangedIsAnotherSuite(t *testing.T) {
	s := newShop(t)
	for name, body := range s.heap(t, numbered) {
		s.shelf.objects["elsewhere/"+name] = body
	}
	e := s.evaluator(Options{Gate: Gate{Suites: []SuiteRule{{Name: "mine", Source: "elsewhere/"}}}})
	digest := func() string {
		t.Helper()
		r, err := e.Report(t.Context(), baseRef, day)
		if err != nil {
			t.Fatal(err)
		}
		return suiteOf(t, r, "mine").Digest
	}
	before := digest()
	if digest() != before {
		t.Error("the same images have two digests")
	}
	for key := range s.shelf.objects {
		if strings.HasPrefix(key, "elsewhere/") { // the same name, other contents
			s.shelf.objects[key] = append(s.shelf.objects[key], 0)
			break
		}
	}
	if digest() == before {
		t.Error("other images have the same digest: their answers would be those of the old ones")
	}
}

func TestTrainedOnImagesAreInNoSuite(t *testing.T) {
	s := newShop(t)
	greedy := *s.Models.(cabinet)[baseRef]
	greedy.Manifest.TrainedOn = append(slices.Clone(greedy.Manifest.TrainedOn), s.set.Test.IDs[0], s.set.Test.IDs[1], "p0004.png", "002.png")
	s.Models.(cabinet)["sha256:94eed"] = &greedy
	for name, body := range s.heap(t, numbered) {
		s.shelf.objects["elsewhere/"+name] = body
	}
	e := s.evaluator(Options{Gate: Gate{Suites: []SuiteRule{{Name: "mine", Source: "elsewhere/"}}}})
	r, err := e.Report(t.Context(), "sha256:94eed", day)
	if err != nil {
		t.Fatal(err)
	}
	for suite, want := range map[string]int{KindHeldout: 649, KindTest: 398, "mine": 29} {
		if got := suiteOf(t, r, suite).Samples; got != want {
			t.Errorf("%s: %d samples, want %d: what was trained on must not judge", suite, got, want)
		}
	}
}

// What active learning left out is what the model was sure of: judged on it, a
// better challenger looks worse.
func TestWhatTrainingLeftOutByChoiceDoesNotJudge(t *testing.T) {
	const share = .3
	s := newShop(t)
	choosy := *s.Models.(cabinet)[baseRef]
	choosy.Manifest.Composition = &network.Composition{Active: network.ActiveAccount{LeftOut: 100}, Evaluation: network.EvaluationAccount{Holdout: share}}
	s.Models.(cabinet)["sha256:c4005"] = &choosy
	samples := func(ref dg.ModelRef) int {
		r, err := s.evaluator(Options{}).Report(t.Context(), ref, day)
		if err != nil {
			t.Fatal(err)
		}
		return suiteOf(t, r, KindHeldout).Samples
	}
	all, held := samples(baseRef), 0
	for i := range 2 * all {
		if id := fmt.Sprintf("p%04d.png", i); dg.Held(id, share) {
			held++
		}
	}
	if got := samples("sha256:c4005"); got == 0 || got > held || float64(got) > 1.3*share*float64(all) {
		t.Errorf("%d of %d samples judge, want only the held out: about %.0f", got, all, share*float64(all))
	}
}

func TestStoredAnswersNeedNoImage(t *testing.T) {
	s := newShop(t)
	if err := s.ledger.PrunePredictions(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	refs := []dg.ModelRef{baseRef, harmedRef}
	first, err := s.evaluator(Options{}).Study(t.Context(), refs, day)
	if err != nil {
		t.Fatal(err)
	}
	s.blind()
	again, err := s.evaluator(Options{}).Study(t.Context(), refs, day)
	if err != nil {
		t.Fatal(err)
	}
	for i := range refs {
		a, b := first.Versions[i], again.Versions[i]
		for j := range a.Suites {
			x, y := a.Suites[j], b.Suites[j]
			if x.Accuracy != y.Accuracy || x.Calibration.Error != y.Calibration.Error || fmt.Sprint(x.Confusion, x.Slices) != fmt.Sprint(y.Confusion, y.Slices) || y.Unreadable != 0 {
				t.Errorf("%s on %s: from stored answers %+v, from images %+v", a.Version.Short(), x.Name, y.Accuracy, x.Accuracy)
			}
		}
		if fmt.Sprint(a.Robustness) != fmt.Sprint(b.Robustness) {
			t.Error("robustness differs between stored answers and images")
		}
	}
	// A version that was never judged must look, and finds nothing to see.
	r, err := s.evaluator(Options{}).Report(t.Context(), secondRef, day)
	if err != nil {
		t.Fatal(err)
	}
	if got := suiteOf(t, r, KindHeldout); got.Samples != 0 || got.Unreadable != 610 {
		t.Errorf("images that are broken: %+v", got.Suite)
	}
	if got := suiteOf(t, r, KindTest); got.Fault == "" {
		t.Errorf("a dataset that is broken: %+v", got.Suite)
	}
}

func TestAnEvaluatorWithoutAStoreAnswersTheSame(t *testing.T) {
	s := newShop(t)
	kept, err := s.evaluator(Options{}).Judge(t.Context(), baseRef, harmedRef, day)
	if err != nil {
		t.Fatal(err)
	}
	s.Predictions = nil
	anew, err := s.evaluator(Options{Workers: 1, Batch: 7}).Judge(t.Context(), baseRef, harmedRef, day)
	if err != nil || fmt.Sprint(kept) != fmt.Sprint(anew) {
		t.Errorf("%+v, %v, want %+v", anew, err, kept)
	}
}

func TestAFaultOfASuiteIsTheVerdictError(t *testing.T) {
	s := newShop(t)
	for name, rule := range map[string]SuiteRule{
		"a folder that is not there":  {Name: "mine", Source: filepath.Join(t.TempDir(), "nowhere")},
		"a prefix without any image":  {Name: "mine", Source: "elsewhere/nothing/"},
		"a dataset that is not there": {Name: "mine", Source: "garments@000000000000"},
	} {
		c, err := s.evaluator(Options{Gate: Gate{Suites: []SuiteRule{rule}}}).Judge(t.Context(), baseRef, secondRef, day)
		if err != nil || c.Verdict != dg.Errored || !strings.Contains(strings.Join(c.Reasons, "\n"), "mine") {
			t.Errorf("%s: %s, %q, %v: want the verdict error", name, c.Verdict, c.Reasons, err)
		}
	}
	s.Datasets = nil
	c, err := s.evaluator(Options{Gate: Gate{Suites: []SuiteRule{{Name: KindTest}}}}).Judge(t.Context(), baseRef, secondRef, day)
	if err != nil || c.Verdict != dg.Errored {
		t.Errorf("a test suite without datasets: %s, %q, %v", c.Verdict, c.Reasons, err)
	}
}

func TestBandsNameEveryImage(t *testing.T) {
	for b, want := range map[float64]string{0: "0.0-0.1", .0999: "0.0-0.1", .1: "0.1-0.2", .55: "0.5-0.6", .6: "0.6-0.8", .99: "0.8-1.0", 1: "0.8-1.0"} {
		if got := brightnessBand(b); got != want {
			t.Errorf("brightness %g is %q, want %q", b, got, want)
		}
	}
	for side, want := range map[int]string{1: "below 32", 28: "below 32", 32: "32-63", 63: "32-63", 64: "64-127", 4000: "2048-4095"} {
		if got := sizeBand(side); got != want {
			t.Errorf("side %d is %q, want %q", side, got, want)
		}
	}
	if got := (Options{Now: func() time.Time { return noon }}).now(); !got.Equal(noon) {
		t.Errorf("now is %s", got)
	}
}

// counted is a shelf that knows how many images are read at once.
type counted struct {
	*shelf
	now, most atomic.Int64
}

func (c *counted) Get(ctx context.Context, bucket, key string) ([]byte, objstore.Object, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	time.Sleep(10 * time.Microsecond) // so that they overlap
	return c.shelf.Get(ctx, bucket, key)
}

func TestOnlyWorkersReadAtOnce(t *testing.T) {
	s := newShop(t)
	c := &counted{shelf: s.shelf}
	s.Images, s.Predictions = c, nil
	if _, err := s.evaluator(Options{Workers: 3, Batch: 16}).Judge(t.Context(), baseRef, secondRef, day); err != nil {
		t.Fatal(err)
	}
	if most := c.most.Load(); most != 3 {
		t.Errorf("%d images were read at once, want 3", most)
	}
}

// TestJudgementsAtOnceAgree has several people ask while nothing is stored yet.
func TestJudgementsAtOnceAgree(t *testing.T) {
	s := newShop(t)
	if err := s.ledger.PrunePredictions(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	e := s.evaluator(Options{})
	said := make([]string, 4)
	var wg sync.WaitGroup
	for i := range said {
		wg.Go(func() {
			c, err := e.Judge(t.Context(), baseRef, harmedRef, day)
			if err != nil {
				t.Error(err)
			}
			page, err := e.Discordant(t.Context(), baseRef, harmedRef, day, KindTest, OnlyA, "", 5)
			if err != nil {
				t.Error(err)
			}
			said[i] = fmt.Sprint(c, page)
		})
	}
	wg.Wait()
	for i := range said {
		if said[i] != said[0] || said[i] == "" {
			t.Errorf("one hears %s, another %s", said[0], said[i])
		}
	}
}

func TestLabelsWithoutPredictionsAreNotWeighed(t *testing.T) {
	s := newShop(t)
	l := openLedger(t)
	s.Labels, s.Predictions = l, nil
	for i := range 60 { // a clean bucket that others have filled, of two reasons
		class := int(s.set.Test.Labels[i])
		key := dg.SampleKey(class, fmt.Sprintf("f%02d.png", i))
		s.shelf.objects[buckets.Clean+"/"+key] = s.png(t, i)
		sample := dg.Sample{Key: key, PredictedClass: s.set.Classes[class], Confidence: .4 + .5*float64(i%2), Timestamp: noon.Add(time.Duration(i) * time.Second)}
		if err := l.SetForeignLabel(t.Context(), sample, s.set.Classes[class]); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.evaluator(Options{}).Report(t.Context(), baseRef, day)
	if err != nil {
		t.Fatal(err)
	}
	got := suiteOf(t, r, KindHeldout)
	if got.Samples != 60 || got.Weighted || !strings.Contains(strings.Join(r.Notes, " "), "not weighed") {
		t.Errorf("%+v, notes %q: want 60 samples, not weighted, and a note", got.Suite, r.Notes)
	}
}

func TestFoldersNameTheirClass(t *testing.T) {
	label := dataset.Labeller(dg.FashionMNIST)
	for rel, want := range map[string]string{
		"Coat/a.png": "Coat", "class_04/a.png": "Coat", "class_04/b/a.png": "Coat", "T-shirt-top/a.png": "T-shirt/top", "T-shirt/top/a.png": "T-shirt/top",
		"a.png": "", "Coat": "", "Coat/": "", "Hat/a.png": "", "T-shirt/top": "", "": "", "/": "",
	} {
		if got := folderLabel(rel, label); got != want {
			t.Errorf("%q is of class %q, want %q", rel, got, want)
		}
	}
}

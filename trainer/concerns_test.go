package trainer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
)

// drawProduction stores n predictions of garments, half of them labelled by
// people, and returns their records. One label in wrong is another class's; 0
// is none. Nothing is held out here: compose does that.
func drawProduction(t testing.TB, src *memory, seed uint64, n, wrong int) (records []ledger.Record, bad map[string]bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 5))
	bad = map[string]bool{}
	for i := range n {
		class, id := rng.IntN(10), fmt.Sprintf("prod-%d-%04d.png", seed, i)
		px, named := dataset.Garment(class, dataset.Drift{}, rng), class
		if wrong > 0 && i%wrong == 0 {
			named, bad[id] = (class+1+rng.IntN(9))%10, true
		}
		r := ledger.Record{State: ledger.Noisy, Placed: true, Sample: dg.Sample{Key: dg.SampleKey(named, id), PredictedClass: dg.FashionMNIST[named],
			Confidence: dg.RoundConfidence(rng.Float64()), Timestamp: time.Unix(int64(i), 0), Stratum: dg.Random}}
		if i%2 == 0 {
			r.State, r.Label, r.LabelSource, r.LabelledAt = ledger.Labelled, dg.FashionMNIST[named], dg.HumanLabel, time.Unix(int64(i), 0)
			r.PredictedClass = dg.FashionMNIST[rng.IntN(10)]
			r.Votes = []dg.Votes{{}, {Agree: rng.IntN(4), Of: 3}}[rng.IntN(2)]
		}
		src.put(t, Example{Bucket: buckets.Noisy, Key: dg.SampleKey(named, id)}, px)
		records = append(records, r)
	}
	return records, bad
}

func composed(job Job, records []ledger.Record) Job {
	job.Examples, job.Composition = ComposeReport(records, dg.FashionMNIST, buckets, job.Options)
	return job
}

func mustGather(t testing.TB, job Job, src source) *material {
	t.Helper()
	if err := job.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := gather(t.Context(), job, src, func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// randomOptions turns concerns on and off at random; they are valid.
func randomOptions(rng *rand.Rand) Options {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	o := DefaultOptions()
	o.Hidden, o.Batch, o.Seed = []int{16}, 16+rng.IntN(60), rng.Uint64()
	o.Sources = [][]string{nil, {"human"}, {"human", "proxy"}, {"proxy"}}[rng.IntN(4)]
	o.MinProxyConfidence, o.ProxyWeight, o.Disagreement = rng.Float64()*0.8, 0.05+rng.Float64(), rng.Float64()
	if rng.IntN(3) == 0 {
		o.ProxyUntil = time.Unix(int64(rng.IntN(120)), 0)
	}
	o.Active = Active{MaxProduction: rng.IntN(2) * (5 + rng.IntN(60)), Prefer: pick("", Uncertain, Surprising), Random: rng.Float64()}
	o.Quality = Quality{Folds: []int{0, 0, 2, 3}[rng.IntN(4)], Epochs: 1, ProxyFactor: float64(rng.IntN(2)) / 2, HumanFactor: 0.5, BaseFactor: 1,
		Weak: [][]string{nil, {"class=Shirt", "confidence=0-0.4"}}[rng.IntN(2)], WeakFactor: 3}
	o.Augment = dataset.Augmentation{Share: rng.Float64(), Shift: rng.IntN(4), Flip: rng.IntN(2) == 0, Rotation: float64(rng.IntN(2) * 20), Cutout: rng.IntN(8)}
	o.Sampling = Sampling{Replay: []int{0, 50, 200}[rng.IntN(3)], ReplayBy: pick("", ByShare, Evenly), Balance: pick("", None, Sqrt, Equal), BalanceBy: pick("", ByWeights, BySamples)}
	o.Evaluation = Evaluation{Holdout: []float64{0.1, 0.3, 0.6}[rng.IntN(3)], Validation: []float64{0, 0.1, 0.4}[rng.IntN(3)]}
	return o
}

// Whatever is asked for: no held-out id is trained or validated on, in no
// epoch, under no label, as no copy; and nothing validates that is trained on.
func TestNoCombinationOfConcernsLeaksTheHoldout(t *testing.T) {
	src := newMemory()
	records, _ := drawProduction(t, src, 3, 150, 7)
	parent := mustTrain(t, quick(t), newMemory())
	heldSeen, refused := 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 6))
		o := randomOptions(rng)
		job := quick(t)
		job.Options, job.Parent = o, parentRef
		if o.Start = []string{Scratch, Warm, Head}[rng.IntN(3)]; o.Start != Scratch {
			job.Options.Start, src.parent = o.Start, parent
		}
		job = composed(job, records)
		if o.Replay == 0 && len(job.Examples) < 20 {
			continue // nothing to train on is another test's
		}
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		m, err := gather(t.Context(), job, src, func(Progress) {})
		if o.Start == Scratch && o.Replay == 0 && err != nil && strings.Contains(err.Error(), "no image is left of the classes") {
			refused++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		check := func(ids []string, where string) {
			for _, id := range ids {
				if _, _, err := dg.ParseKey("class_00/" + id); err == nil && dg.Held(id, o.Holdout) {
					t.Fatalf("seed %d: %s, held out, is in %s; %+v", seed, id, where, o)
				}
			}
		}
		check(m.train.ids, "the training split")
		check(m.valid.ids, "the validation split")
		trained := map[string]bool{}
		for epoch := range 3 {
			for _, i := range epochOrder(nil, &m.train, m.draws, rand.New(rand.NewPCG(o.Seed, uint64(epoch)))) {
				trained[m.train.ids[i]] = true
			}
		}
		for _, id := range m.valid.ids {
			if trained[id] {
				t.Fatalf("seed %d: %s trains and validates", seed, id)
			}
		}
		if seed%6 == 0 {
			job.Options.Epochs = 2
			a := mustTrain(t, job, src)
			check(a.Manifest.TrainedOn, "the manifest")
			for id := range trained {
				if _, ok := slices.BinarySearch(a.Manifest.TrainedOn, id); !ok {
					t.Fatalf("seed %d: %s was trained on and is not in the manifest", seed, id)
				}
			}
		}
		heldSeen += m.account.Evaluation.Held
	}
	if refused > 10 {
		t.Errorf("%d of 60 were refused: the test shows little", refused)
	}
	if heldSeen == 0 {
		t.Error("nothing was ever held out: the test shows nothing")
	}
}

// fingerprint is what training sees.
func fingerprint(m *material) string { return fmt.Sprint(m.digest(), m.draws, m.account.Augmentation) }

func TestEachConcernChangesTheSetAndTheManifest(t *testing.T) {
	src := newMemory()
	records, _ := drawProduction(t, src, 4, 200, 8)
	base := func() Options {
		o := DefaultOptions()
		o.Hidden, o.Epochs, o.Replay, o.MinProxyConfidence = []int{16}, 1, 300, 0.5
		return o
	}
	make := func(change func(*Options)) *material {
		job := quick(t)
		job.Options = base()
		change(&job.Options)
		return mustGather(t, composed(job, records), src)
	}
	plain := make(func(*Options) {})
	for _, tt := range []struct {
		name   string
		change func(*Options)
		part   func(Composition) any
	}{
		{"labelling: sources", func(o *Options) { o.Sources = []string{"human"} }, func(c Composition) any { return c.Labelling }},
		{"labelling: weights", func(o *Options) { o.HumanWeight = 5 }, func(c Composition) any { return c.Labelling }},
		{"labelling: confidence", func(o *Options) { o.MinProxyConfidence = 0.9 }, func(c Composition) any { return c.Labelling }},
		{"labelling: disagreement", func(o *Options) { o.Disagreement = 1 }, func(c Composition) any { return c.Labelling }},
		{"labelling: known to fail", func(o *Options) { o.ProxyUntil = time.Unix(100, 0) }, func(c Composition) any { return c.Labelling }},
		{"active learning", func(o *Options) { o.Active.MaxProduction = 40 }, func(c Composition) any { return c.Active }},
		{"quality: suspects", func(o *Options) { o.Quality.Folds = 3 }, func(c Composition) any { return c.Quality }},
		{"quality: weak slices", func(o *Options) { o.Quality.Weak = []string{"class=Bag"} }, func(c Composition) any { return c.Quality }},
		{"augmentation", func(o *Options) { o.Augment.Rotation = 10 }, func(c Composition) any { return c.Augmentation }},
		{"sampling: replay", func(o *Options) { o.Replay = 100 }, func(c Composition) any { return c.Sampling }},
		{"sampling: replay evenly", func(o *Options) { o.ReplayBy = Evenly }, func(c Composition) any { return c.Sampling }},
		{"sampling: balance by weights", func(o *Options) { o.Balance = Equal }, func(c Composition) any { return c.Sampling }},
		{"sampling: balance by samples", func(o *Options) { o.Balance, o.BalanceBy = Sqrt, BySamples }, func(c Composition) any { return c.Sampling }},
		{"sampling: class weights", func(o *Options) { o.ClassWeights = map[string]float64{"Bag": 3} }, func(c Composition) any { return c.Sampling }},
		{"evaluation: holdout", func(o *Options) { o.Holdout = 0.5 }, func(c Composition) any { return c.Evaluation }},
		{"evaluation: validation", func(o *Options) { o.Validation = 0.3 }, func(c Composition) any { return c.Evaluation }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := make(tt.change)
			if reflect.DeepEqual(tt.part(m.account), tt.part(plain.account)) {
				t.Errorf("the account is the same: %+v", tt.part(m.account))
			}
			same := fingerprint(m) == fingerprint(plain)
			if tt.name == "sampling: replay evenly" {
				same = false // the synthetic classes are even already; TestReplayEvenly shows the difference
			}
			if same {
				t.Error("the set is the same")
			}
		})
	}
}

func TestWrongLabelsAreFoundAndHandledBySource(t *testing.T) {
	src := newMemory()
	records, bad := drawProduction(t, src, 5, 400, 5)
	job := quick(t)
	job.Options.Replay, job.Options.MinProxyConfidence, job.Options.ProxyWeight, job.Options.HumanWeight = 1000, 0, 1, 1
	job.Options.Quality = Quality{Folds: 10, Epochs: 8, ProxyFactor: 0, HumanFactor: 0.25, BaseFactor: 1}
	job.Options.Hidden, job.Options.Momentum = []int{256}, 0.9
	job = composed(job, records)
	m := mustGather(t, job, src)
	q := m.account.Quality
	found, wrongly := 0, 0
	for _, s := range q.List {
		switch {
		case bad[s.ID]:
			found++
		case s.Source != baseSource:
			wrongly++
		}
		if s.Action != map[string]string{"human": "lowered", "proxy": "dropped", baseSource: "reported"}[s.Source] {
			t.Errorf("%s, %s: %s", s.ID, s.Source, s.Action)
		}
		if s.Label == s.Looks || s.Confidence <= 0 || s.Confidence > 1 {
			t.Errorf("suspect %+v", s)
		}
	}
	planted := 0
	for _, e := range job.Examples {
		if bad[e.ID] {
			planted++
		}
	}
	if found < planted*3/4 || wrongly > planted/4 {
		t.Errorf("of %d wrong labels %d were found, %d right ones were suspected", planted, found, wrongly)
	}
	if len(q.List) > 100 || q.Checked != m.train.len()+m.valid.len()+q.Dropped || q.Accuracy < 0.6 || q.Dropped != q.Suspects["proxy"] || q.Lowered != q.Suspects["human"] {
		t.Errorf("account %+v", q)
	}
	left := slices.Concat(m.train.ids, m.valid.ids)
	weights, lowest := slices.Concat(m.train.weights, m.valid.weights), 0
	for _, s := range q.List {
		i := slices.Index(left, s.ID)
		if (s.Source == "proxy") != (i < 0) {
			t.Errorf("%s (%s) is left in the set: %v", s.ID, s.Source, i >= 0)
		}
		if s.Source != "human" {
			continue
		}
		if weights[i] < 0.25 || weights[i] > 1 {
			t.Errorf("%s, suspect, weighs %g, want 0.25 to 1", s.ID, weights[i])
		}
		if weights[i] == 0.25 {
			lowest++
		}
	}
	if 2*lowest < q.Lowered {
		t.Errorf("%d of %d suspect human labels weigh the least they may, want most", lowest, q.Lowered)
	}
}

func TestActiveLearningKeepsWhatTeachesMost(t *testing.T) {
	o := composing()
	o.Active = Active{MaxProduction: 10, Random: 0}
	var records []ledger.Record
	for i := range 40 {
		r := human(fmt.Sprintf("h%02d.png", i), []string{"Bag", "Sneaker"}[i%2], 1) // Sneaker was predicted
		r.Confidence = float64(i) / 40
		records = append(records, r, proxy(fmt.Sprintf("x%02d.png", i), "Bag", 0.99))
	}
	ids := func(prefer string, random float64) []string {
		o.Active.Prefer, o.Active.Random = prefer, random
		var out []string
		for _, e := range Compose(records, dg.FashionMNIST, buckets, o) {
			out = append(out, e.ID)
		}
		return out
	}
	if got := ids(Uncertain, 0); !slices.Equal(got, []string{"h00.png", "h01.png", "h02.png", "h03.png", "h04.png", "h05.png", "h06.png", "h07.png", "h08.png", "h09.png"}) {
		t.Errorf("uncertain first: %v", got)
	}
	// Wrong and sure (even, high) and right and unsure (odd, low) teach most.
	for _, id := range ids(Surprising, 0) {
		var i int
		if _, err := fmt.Sscanf(id, "h%02d.png", &i); err != nil || (i%2 == 0 && i < 26) || (i%2 == 1 && i > 13) {
			t.Errorf("surprising first: %s", id)
		}
	}
	byLot := ids(Uncertain, 1)
	if len(byLot) != 10 || slices.Equal(byLot, ids(Uncertain, 0)) {
		t.Errorf("by lot: %v", byLot)
	}
	o.Active.Random = 0.3
	_, c := ComposeReport(records, dg.FashionMNIST, buckets, o)
	if a := c.Active; a.Informative != 7 || a.Random != 3 || a.LeftOut != 70 || a.Candidates != 80 || a.KeptConfidence >= a.CandidateConfidence {
		t.Errorf("account %+v", a)
	}
	o.Active.MaxProduction = 50 // all that people labelled, and ten others
	got, c := ComposeReport(records, dg.FashionMNIST, buckets, o)
	if len(got) != 50 || c.Labelling.Human != 40 || c.Labelling.Proxy != 10 {
		t.Errorf("%d kept, %+v", len(got), c.Labelling)
	}
}

func TestDisagreementAndWeakSlicesMoveWeights(t *testing.T) {
	o := composing()
	o.Disagreement, o.Quality.WeakFactor, o.Quality.Weak = 0.5, 4, []string{"class=Coat", "source=flagged", "predicted=Dress", "confidence=0.20-0.30"}
	vote := func(id, label string, agree, of int) ledger.Record {
		r := human(id, label, 1) // Sneaker was predicted, at 0.4
		r.Votes = dg.Votes{Agree: agree, Of: of}
		return r
	}
	with := func(r ledger.Record, f func(*ledger.Record)) ledger.Record { f(&r); return r }
	for _, tt := range []struct {
		name string
		in   ledger.Record
		want float64 // of 3
	}{
		{"one person", human("a.png", "Bag", 1), 3},
		{"all agree with the model", vote("a.png", "Sneaker", 3, 3), 3},
		{"two of three with the model", vote("a.png", "Sneaker", 2, 3), 3 * (1 - 0.5/3)},
		{"all against the model", vote("a.png", "Bag", 0, 3), 3},
		{"two of three against the model", vote("a.png", "Bag", 1, 3), 3 * (1 - 0.5/3)},
		{"a weak class", human("a.png", "Coat", 1), 12},
		{"a weak stratum", with(human("a.png", "Bag", 1), func(r *ledger.Record) { r.Stratum = dg.Flagged }), 12},
		{"a weak prediction", with(human("a.png", "Bag", 1), func(r *ledger.Record) { r.PredictedClass = "Dress" }), 12},
		{"weak by confidence", with(human("a.png", "Bag", 1), func(r *ledger.Record) { r.Confidence = 0.2 }), 12},
		{"just beyond it", with(human("a.png", "Bag", 1), func(r *ledger.Record) { r.Confidence = 0.3 }), 3},
		{"no confidence", with(human("a.png", "Bag", 1), func(r *ledger.Record) { r.Confidence = math.NaN() }), 3},
		{"weak twice over counts once", with(human("a.png", "Coat", 1), func(r *ledger.Record) { r.Stratum = dg.Flagged }), 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Compose([]ledger.Record{tt.in}, dg.FashionMNIST, buckets, o)
			if len(got) != 1 || math.Abs(got[0].Weight-tt.want) > 1e-12 {
				t.Errorf("%+v, want a weight of %g", got, tt.want)
			}
		})
	}
}

func TestCurvesHaveAPointAnEpochAndAnEnd(t *testing.T) {
	job := quick(t)
	m := mustTrain(t, job, newMemory()).Manifest
	if len(m.Curves) != 3 {
		t.Fatalf("curves %+v of three epochs", m.Curves)
	}
	for i, p := range m.Curves {
		if p.Epoch != i+1 || p.TrainLoss <= 0 || p.ValidationLoss <= 0 || p.ValidationAccuracy <= 0 || p.Seconds <= 0 || p.LearningRate > job.Options.LearningRate {
			t.Errorf("point %+v", p)
		}
		if i > 0 && p.LearningRate >= m.Curves[i-1].LearningRate {
			t.Errorf("the learning rate does not fall: %+v", m.Curves)
		}
	}
	if e := m.Environment; e == nil || e.CPUs < 1 || e.Threads < 1 || e.OS == "" || e.Arch == "" {
		t.Errorf("environment %+v", e)
	}
	var s state
	for epoch := range 20_000 {
		s.plot(pointOf(epoch + 1))
		if n := len(s.Curves); n > maxPoints || s.Curves[n-1].Epoch != epoch+1 {
			t.Fatalf("after epoch %d: %d points, the last is of %d", epoch+1, n, s.Curves[n-1].Epoch)
		}
	}
	if n := len(s.Curves); n < maxPoints/2 {
		t.Errorf("%d points of 20,000 epochs", n)
	}
}

func pointOf(epoch int) network.Epoch { return network.Epoch{Epoch: epoch} }

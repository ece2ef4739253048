package evaluator

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

// BenchmarkTenThousand compares two versions over 10,000 held-out images of
// Fashion-MNIST's size, in the embedded store and SQLite: once with every answer
// to be computed, and from stored answers. With DRIFTGATE_TEST_DATA the images
// are Fashion-MNIST's own.
//
//	go test ./evaluator -run '^$' -bench TenThousand -benchtime 1x
func BenchmarkTenThousand(b *testing.B) {
	ctx := b.Context()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	set := dataset.Synthetic(dataset.SyntheticOptions{Seed: 9, Train: 2000, Test: 10_000})
	if dir := os.Getenv("DRIFTGATE_TEST_DATA"); dir != "" {
		var err error
		set, err = dataset.ReadFashionMNIST(filepath.Join(dir, "fashion-mnist"))
		check(err)
		set.Train.Labels, set.Train.IDs, set.Train.Pixels = set.Train.Labels[:2000], set.Train.IDs[:2000], set.Train.Pixels[:2000*set.ImageBytes()]
	}
	srv, err := embedded.Start(ctx, embedded.Options{Dir: b.TempDir()})
	check(err)
	defer srv.Close()
	access, secret := srv.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: srv.Endpoint(), AccessKey: access, SecretKey: secret})
	check(err)
	check(store.EnsureBuckets(ctx, buckets.All()...))
	_, err = dataset.Save(ctx, store.Bucket(buckets.Datasets), set)
	check(err)
	l, err := ledger.Open(ctx, filepath.Join(b.TempDir(), "ledger.db"))
	check(err)
	defer l.Close()
	labels := make([]ledger.ForeignLabel, set.Test.Len())
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < len(labels); i += 8 {
				label := int(set.Test.Labels[i])
				key := dg.SampleKey(label, fmt.Sprintf("p%05d.png", i))
				stratum := dg.Random
				if i%4 == 0 {
					stratum = dg.LowConfidence
				}
				labels[i] = ledger.ForeignLabel{Label: set.Classes[label], Interval: noon.Add(time.Duration(i/100) * time.Minute),
					Sample: dg.Sample{Key: key, PredictedClass: set.Classes[label], Confidence: .8, Timestamp: noon.Add(time.Duration(i) * time.Second),
						ModelVersion: "ba5e", Stratum: stratum, SamplingFraction: .5, LabelSource: dg.HumanLabel, LabelledAt: noon.Add(time.Hour)}}
				body, err := dataset.EncodePNG(set.Image(set.Test, i), set.Height, set.Width, set.Channels)
				if err == nil {
					_, err = store.Put(ctx, buckets.Clean, key, body, objstore.PutOptions{ContentType: "image/png"})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	check(l.SetForeignLabels(ctx, labels...))
	plain := func(c int) int { return c }
	models := cabinet{refA: learn(b, set, 1, 2, plain, nil), refB: learn(b, set, 1, 3, plain, nil)}
	sources := Sources{Images: store, Labels: l, Models: models, Predictions: l, Datasets: store.Bucket(buckets.Datasets), Buckets: buckets}
	week := dg.Interval{Start: noon, End: noon.Add(7 * 24 * time.Hour)}
	judge := func(b *testing.B, s Sources) {
		for b.Loop() {
			c, err := New(s, Options{}).Judge(ctx, refA, refB, week)
			if err != nil || c.Pairs != 10_000 {
				b.Fatalf("%d pairs, %v", c.Pairs, err)
			}
		}
	}
	b.Run("computed", func(b *testing.B) {
		s := sources
		s.Predictions = nil
		judge(b, s)
	})
	b.Run("computed-and-stored", func(b *testing.B) { judge(b, sources) })
	b.Run("stored", func(b *testing.B) { judge(b, sources) })
	for _, name := range []string{"study-first", "study-stored"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := New(sources, Options{}).Study(ctx, []dg.ModelRef{refA, refB}, week)
				check(err)
			}
		})
	}
}

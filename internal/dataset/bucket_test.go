package dataset_test

import (
	"errors"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

// TestSetsLiveInARealBucket stores and loads through the S3 adapter and the
// embedded server.
func TestSetsLiveInARealBucket(t *testing.T) {
	server, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	access, key := server.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.EnsureBuckets(t.Context(), "datasets"); err != nil {
		t.Fatal(err)
	}
	bucket := store.Bucket("datasets")

	set := dataset.Synthetic(dataset.SyntheticOptions{Seed: 1, Train: 100, Test: 40})
	ref, err := dataset.Save(t.Context(), bucket, set)
	if err != nil {
		t.Fatal(err)
	}
	got, err := dataset.Load(t.Context(), bucket, ref)
	if err != nil || got.Fingerprint() != set.Fingerprint() || got.Test.IDs[39] != set.Test.IDs[39] {
		t.Errorf("what came back is not what was saved: %v", err)
	}
	if infos, err := dataset.List(t.Context(), bucket); err != nil || len(infos) != 1 || infos[0].Ref() != ref {
		t.Errorf("List: %v, %v", infos, err)
	}
	if _, err := dataset.Load(t.Context(), bucket, "garments@000000000000"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an unknown set: %v, want ErrNotFound", err)
	}
}

package objstore_test

import (
	"os"
	"testing"

	"driftgate/internal/objstore"
	"driftgate/internal/objstore/objstoretest"
)

// TestConformanceOfARealServer judges the S3 server that the environment names;
// make e2e runs it against MinIO.
func TestConformanceOfARealServer(t *testing.T) {
	const prefix = "DRIFTGATE_TEST_S3_"
	o := objstore.Options{
		Endpoint:  os.Getenv(prefix + "ENDPOINT"),
		AccessKey: os.Getenv(prefix + "ACCESS_KEY"),
		SecretKey: os.Getenv(prefix + "SECRET_KEY"),
	}
	if o.Endpoint == "" {
		t.Skipf("%sENDPOINT, %sACCESS_KEY and %sSECRET_KEY name no S3 server: its conformance is not tested", prefix, prefix, prefix)
	}
	objstoretest.Run(t, func(t *testing.T) *objstore.Store {
		store, err := objstore.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		return store
	})
}

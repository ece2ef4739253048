//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"driftgate/internal/objstore"
	"driftgate/internal/objstore/objstoretest"
)

// minioServer starts a real MinIO and returns how to reach it.
func minioServer(t *testing.T) (objstore.Options, *process) {
	t.Helper()
	o := objstore.Options{Endpoint: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), AccessKey: "e2e-access", SecretKey: "e2e-secret-key"}
	p := start(t, []string{"MINIO_ROOT_USER=" + o.AccessKey, "MINIO_ROOT_PASSWORD=" + o.SecretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off"},
		tool(t, "minio"), "server", "--quiet", "--address", o.Endpoint[len("http://"):], t.TempDir())
	store, err := objstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	// MinIO's health endpoint answers before its buckets do.
	eventually(t, 60*time.Second, "MinIO lists buckets", func() bool { return store.Ready(t.Context()) == nil })
	return o, p
}

func TestMinIOPassesTheConformanceSuite(t *testing.T) {
	o, _ := minioServer(t)
	objstoretest.Run(t, func(t *testing.T) *objstore.Store {
		store, err := objstore.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}

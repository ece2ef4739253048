package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	dg "driftgate"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

// crashDir in the environment makes the test binary the server that gets killed.
const crashDir = "DRIFTGATE_TEST_CRASH_DIR"

const (
	crashWriters = 6
	crashKeys    = 12 // a writer
	source       = "crash-source"
	target       = "crash-target"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeUntilKilled(dir, os.Getenv(crashDir+"_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// step is the nth acknowledged write to one object. Its body names the put that
// made it, its tags name both that put and the newest write.
type step struct {
	bucket, key string
	n, body     int
}

func (s step) line() string { return fmt.Sprintf("%s %s %d %d", s.bucket, s.key, s.n, s.body) }

func crashBody(key string, n int) string {
	return strings.Repeat(fmt.Sprintf("%s#%d;", key, n), 1+n%700)
}

func crashTags(n, body int) map[string]string {
	return map[string]string{"n": fmt.Sprint(n), "body": fmt.Sprint(body), "predicted_class": "Noodles/Pasta"}
}

// writeUntilKilled serves dir and writes to it from several writers, each with
// keys of its own. It prints every write once it is acknowledged.
func writeUntilKilled(dir, round string) error {
	ctx := context.Background()
	s, err := embedded.Start(ctx, embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	access, secret := s.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: s.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		return err
	}
	if err := store.EnsureBuckets(ctx, source, target); err != nil {
		return err
	}
	fmt.Println("ready")
	var print sync.Mutex
	acknowledged := func(s step) {
		print.Lock()
		defer print.Unlock()
		fmt.Println(s.line())
	}
	errs := make(chan error)
	for w := range crashWriters {
		go func() { errs <- crashWriter(ctx, store, fmt.Sprintf("round_%s/w%d", round, w), acknowledged) }()
	}
	return <-errs // only an error ends a writer
}

func crashWriter(ctx context.Context, store *objstore.Store, prefix string, acknowledged func(step)) error {
	last := map[string]step{} // of the source bucket
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s/class_%02d/%d.png", prefix, i%4, i%crashKeys)
		s, exists := last[key]
		s.bucket, s.key, s.n = source, key, s.n+1
		var err error
		switch {
		case !exists || i/crashKeys%4 == 0: // put, the first one only if there is none
			s.body = s.n
			_, err = store.Put(ctx, source, key, []byte(crashBody(key, s.n)),
				objstore.PutOptions{Tags: crashTags(s.n, s.n), ContentType: "image/png", IfNoneMatch: !exists})
		case i/crashKeys%4 == 2: // copy with new tags
			c := step{target, key, s.n, s.body}
			if err = store.Copy(ctx, source, key, target, key, crashTags(c.n, c.body)); err == nil {
				acknowledged(c)
			}
			s.n-- // the source is as it was
		default: // edit tags
			err = store.UpdateTags(ctx, source, key, func(tags map[string]string) error {
				maps.Copy(tags, crashTags(s.n, s.body))
				return nil
			})
		}
		if err != nil {
			return err
		}
		if i/crashKeys%4 != 2 || !exists {
			acknowledged(s)
		}
		last[key] = s
	}
}

// TestKilledWhileWriting kills a server again and again; what it had
// acknowledged must be there, whole, and nothing half.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]step{} // newest by bucket and key
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		killServer(t, dir, round, acknowledged)
	}
	if len(acknowledged) < rounds*crashWriters {
		t.Fatalf("only %d objects were acknowledged in %d rounds: the writers hardly wrote", len(acknowledged), rounds)
	}
	s := serve(t, dir)
	store := client(t, s)
	copies := 0
	for _, want := range acknowledged {
		verifyObject(t, store, want.bucket, want.key, want.n)
		if want.bucket == target {
			copies++
		}
	}
	if copies == 0 {
		t.Error("no copy was acknowledged: the claim on copies is not tested")
	}
	for _, bucket := range []string{source, target} {
		listed := 0
		for o, err := range store.List(t.Context(), bucket, "", true) {
			if err != nil {
				t.Fatal(err)
			}
			listed++
			if !strings.HasPrefix(o.Key, "round_") || !strings.HasSuffix(o.Key, ".png") {
				t.Errorf("listed %s/%s, which nobody wrote", bucket, o.Key)
			}
			verifyObject(t, store, bucket, o.Key, 0) // also those that were not acknowledged any more
		}
		t.Logf("%s: %d objects, %d acknowledged in all buckets", bucket, listed, len(acknowledged))
	}
}

// killServer runs one server until it has acknowledged some writes, and kills it.
func killServer(t *testing.T, dir string, round int, acknowledged map[string]step) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashDir+fmt.Sprintf("_ROUND=%d", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		continue
	}
	for left := 250 + rand.IntN(200); lines.Scan(); left-- { // enough for all kinds of writes
		if left == 0 {
			_ = cmd.Process.Kill() // SIGKILL; a server that has ended by itself fails below
		}
		var s step
		if n, _ := fmt.Sscan(lines.Text(), &s.bucket, &s.key, &s.n, &s.body); n == 4 {
			acknowledged[s.bucket+"/"+s.key] = s
		} // a line cut short by the kill was not acknowledged
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the server ended by itself: %v", err)
	}
}

// verifyObject demands that body and tags belong together and are not older
// than write number n.
func verifyObject(t *testing.T, store *objstore.Store, bucket, key string, n int) {
	t.Helper()
	body, o, err := store.Get(t.Context(), bucket, key)
	if errors.Is(err, dg.ErrNotFound) {
		t.Errorf("%s/%s: write %d was acknowledged, and the object is lost", bucket, key, n)
		return
	} else if err != nil {
		t.Fatal(err)
	}
	tags, err := store.Tags(t.Context(), bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	var last, made int
	if _, err := fmt.Sscan(tags["n"]+" "+tags["body"], &last, &made); err != nil {
		t.Errorf("%s/%s: tags %v: %v", bucket, key, tags, err)
		return
	}
	if last < n {
		t.Errorf("%s/%s: write %d was acknowledged, the tags are of write %d", bucket, key, n, last)
	}
	if string(body) != crashBody(key, made) {
		t.Errorf("%s/%s: torn: the tags name body %d, %d bytes are not that", bucket, key, made, len(body))
	}
	if o.ContentType != "image/png" || o.ETag == "" {
		t.Errorf("%s/%s: content type %q, ETag %q", bucket, key, o.ContentType, o.ETag)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/ledger/ledgertest"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"

	"golang.org/x/sync/errgroup"
)

// drive runs the command line in this process.
func drive(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestRefusalsSayWhatWasWrongAndWhatWouldBeRight(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "driftgate.yml")
	if err := os.WriteFile(bad, []byte("curate:\n  treshold: 0.8\nalarm:\n  tolerance: 2\nmetrics:\n  min_labels: many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"three mistakes in the file, at once, with lines": {[]string{"serve", "--config", bad}, exitUsage,
			[]string{"3 mistakes", ":2: unknown key curate.treshold; did you mean curate.threshold?", ":4: alarm.tolerance: 2: want 0 to 1", `:6: metrics.min_labels: "many": want a whole number`}},
		"an unknown flag":                    {[]string{"serve", "--lisen", "x"}, exitUsage, []string{"unknown flag: --lisen", "--help"}},
		"an unknown command":                 {[]string{"sevre"}, exitFailed, []string{`unknown command "sevre"`, "serve"}},
		"too few arguments":                  {[]string{"compare", "a"}, exitUsage, []string{"accepts between 2 and 8 arg(s), received 1"}},
		"a rejection without a reason":       {[]string{"reject", "latest"}, exitUsage, []string{"--reason: want a word of why"}},
		"an interval that ends at its start": {[]string{"curate", "--interval", "2026-01-01T00:00:00Z/2026-01-01T00:00:00Z", "--dir", dir}, exitUsage, []string{"want START/END in RFC 3339"}},
		"neither interval nor span":          {[]string{"curate", "--dir", dir}, exitUsage, []string{"--interval START/END or --last"}},
		"a format nobody knows":              {[]string{"version", "--format", "xml"}, exitUsage, []string{"want text or json"}},
		"slices by nothing that is":          {[]string{"accuracy", "--by", "colour"}, exitUsage, []string{`--by "colour": want class, confidence, all or none`}},
		"a span without a replay":            {[]string{"accuracy", "--since", "30d"}, exitUsage, []string{"--since goes with --replay"}},
		"a replay of one window":             {[]string{"accuracy", "--replay", "--window", "24h"}, exitUsage, []string{"--window does not go with --replay"}},
		"a precision in points":              {[]string{"plan", "--half-width", "2"}, exitUsage, []string{"--half-width 2: want a ratio between 0 and 1, as 0.02"}},
		"a dataset nobody knows":             {[]string{"demo", "--dataset", "mnist"}, exitUsage, []string{"want synthetic or fashion-mnist"}},
		"fashion-mnist without its folder":   {[]string{"demo", "--dataset", "fashion-mnist"}, exitUsage, []string{"--data DIR"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := drive(t, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(stderr, want) {
					t.Errorf("no %q in:\n%s", want, stderr)
				}
			}
		})
	}
}

func TestConfigShowsSourcesAndMasksSecrets(t *testing.T) {
	t.Setenv("MINIO_URL", "minio:9000")
	t.Setenv("MINIO_USER", "someone")
	t.Setenv("MINIO_PASSWORD", "very-secret-word")
	code, out, _ := drive(t, "config", "--format", "json", "--set", "curate.random=7")
	if code != exitDone || strings.Contains(out, "very-secret-word") {
		t.Fatalf("exit code %d, secret shown: %v", code, strings.Contains(out, "very-secret-word"))
	}
	for _, want := range []string{`"env MINIO_URL"`, `"http://minio:9000"`, `"flag"`, `"********"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in the output", want)
		}
	}
}

// fill puts objects into the buckets of a folder, as another program would,
// with nothing of driftgate running.
func fill(t *testing.T, dir string, objects func(put func(bucket, key string, tags map[string]string))) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Options{Dir: filepath.Join(dir, "objects")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	access, secret := server.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	b := objstore.DefaultBuckets("")
	if err := store.EnsureBuckets(t.Context(), b.All()...); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(16)
	objects(func(bucket, key string, tags map[string]string) {
		g.Go(func() error {
			_, err := store.Put(context.Background(), bucket, key, []byte("an image"), objstore.PutOptions{Tags: tags, ContentType: "image/png"})
			return err
		})
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// accuracy asks the command line for one window.
func accuracy(t *testing.T, dir string, at time.Time) driftgate.Accuracy {
	t.Helper()
	if code, _, stderr := drive(t, "ledger", "rebuild", "--dir", dir, "--set", "classes=food-11"); code != exitDone {
		t.Fatalf("rebuild: exit code %d: %s", code, stderr)
	}
	code, out, stderr := drive(t, "accuracy", "--dir", dir, "--window", "24h", "--at", at.Format(time.RFC3339), "--format", "json")
	if code != exitDone {
		t.Fatalf("accuracy: exit code %d: %s", code, stderr)
	}
	var a driftgate.Accuracy
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return a
}

// TestCleanBucketOfTheOldDAG is a clean bucket as the Airflow DAG filled it:
// four tags, no label tag, the class directory is the human's answer.
func TestCleanBucketOfTheOldDAG(t *testing.T) {
	t.Run("SQLite", cleanBucketOfTheOldDAG)
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Setenv("DRIFTGATE_LEDGER_DSN", ledgertest.Postgres(t))
		cleanBucketOfTheOldDAG(t)
		t.Setenv("DRIFTGATE_LEDGER_DSN", "postgres://nobody:hush-hush@127.0.0.1:1/none")
		if code, _, stderr := drive(t, "ledger", "rebuild", "--dir", t.TempDir()); code == exitDone || strings.Contains(stderr, "hush-hush") {
			t.Errorf("a server that is not there: exit code %d: %s", code, stderr)
		}
	})
}

func cleanBucketOfTheOldDAG(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	b := objstore.DefaultBuckets("")
	fill(t, dir, func(put func(bucket, key string, tags map[string]string)) {
		for i := range 40 {
			truth, predicted := i%11, i%11
			if i%4 == 0 {
				predicted = (truth + 1) % 11 // 10 of 40 are wrong
			}
			put(b.Clean, driftgate.SampleKey(truth, fmt.Sprintf("%08d-aaaa.jpg", i)), map[string]string{
				"predicted_class": driftgate.Food11[predicted], "confidence": "0.910",
				"timestamp": at.Add(-time.Duration(i) * time.Minute).Format(driftgate.TimeFormat), "flagged": "true",
			})
		}
	})
	a := accuracy(t, dir, at.Add(time.Minute))
	e, ok := a.Estimate("labelled")
	if !ok || a.Labels != 40 || e.Accuracy != 0.75 {
		t.Errorf("got %+v, want labelled 0.75 of 40", a)
	}
}

// TestWorkedExampleComesOutOfTheBuckets fills buckets to the counts of
// docs/statistics.md: pooling says .715, the weighted figure is .891.
func TestWorkedExampleComesOutOfTheBuckets(t *testing.T) {
	if testing.Short() {
		t.Skip("10,600 objects: not in short mode")
	}
	dir := t.TempDir()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	b := objstore.DefaultBuckets("")
	fill(t, dir, func(put func(bucket, key string, tags map[string]string)) {
		n := 0
		stratum := func(predictions, labels, correct int, confidence string, flagged bool) {
			for i := range predictions {
				id := fmt.Sprintf("%08d-bbbb.jpg", n)
				n++
				tags := map[string]string{"predicted_class": "Bread", "confidence": confidence,
					"timestamp": at.Add(-time.Duration(n) * time.Second).Format(driftgate.TimeFormat)}
				if flagged {
					tags["flagged"] = "true"
				}
				put(b.Production, driftgate.SampleKey(0, id), tags)
				truth := 0
				if i >= correct {
					truth = 1
				}
				if i < labels {
					put(b.Clean, driftgate.SampleKey(truth, id), tags)
				}
			}
		}
		stratum(9000, 300, 279, "0.950", false)
		stratum(800, 200, 120, "0.500", false)
		stratum(200, 100, 30, "0.950", true)
	})
	a := accuracy(t, dir, at.Add(time.Minute))
	s, _ := a.Estimate("stratified")
	l, _ := a.Estimate("labelled")
	if a.Predictions != 10000 || a.Labels != 600 || math.Abs(s.Accuracy-0.891) > 1e-9 || math.Abs(s.StandardError-0.0132926) > 5e-8 || math.Abs(l.Accuracy-0.715) > 1e-9 {
		t.Errorf("got %d predictions, %d labels, %+v, %+v", a.Predictions, a.Labels, s, l)
	}
}

func TestSecondGatewayOnOneFolderIsRefusedAndCommandsUseTheFirst(t *testing.T) {
	dir := t.TempDir()
	conf, _, err := (&global{dir: dir}).load(map[string]string{"http.listen": "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := app.New(t.Context(), app.Options{Config: conf})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the first gateway ended with %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "run.json")); !os.IsNotExist(err) {
			t.Errorf("run.json is left behind: %v", err)
		}
	}()
	for range 100 {
		if _, err := app.ReadRunFile(dir); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	code, _, stderr := drive(t, "serve", "--dir", dir, "--listen", "127.0.0.1:0")
	if code != exitRefused || !strings.Contains(stderr, first.Address()) || !strings.Contains(stderr, "choose another --dir") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	code, out, stderr := drive(t, "runs", "list", "--dir", dir, "--format", "json")
	if code != exitDone || !strings.Contains(out, `"runs"`) {
		t.Errorf("a command beside the gateway: exit code %d: %s%s", code, out, stderr)
	}
	info, err := os.Stat(filepath.Join(dir, "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token file: %v %v", info.Mode(), err)
	}
}

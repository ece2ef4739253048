package ledger

import (
	"cmp"
	"compress/gzip"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	dg "driftgate"
)

// before is a ledger that the binary of commit 7da3c92 wrote (schema 3), and
// plain SQL's own count of it.
func before(t *testing.T) (path string, count func(query string, args ...any) int) {
	t.Helper()
	onSQLite(t)
	f, err := os.Open("testdata/ledger-7da3c92.sql.gz")
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	dump, err := io.ReadAll(z)
	must(t, err)
	path = filepath.Join(t.TempDir(), "ledger.db")
	db, err := sql.Open("sqlite", "file:"+path)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), string(dump))
	must(t, err)
	return path, func(query string, args ...any) (n int) {
		t.Helper()
		must(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n))
		return n
	}
}

func TestALedgerOfAnEarlierBuildKeepsAllItKnew(t *testing.T) {
	ctx := t.Context()
	path, count := before(t)
	version, _, err := Inspect(ctx, path)
	if must(t, err); version != 3 {
		t.Fatalf("the fixture has schema %d, want 3", version)
	}
	// What the earlier build knew, before anything touches it.
	const first = "20e82c8972b4"
	want := map[dg.Stratum][3]int{}
	for _, s := range []dg.Stratum{dg.Random, dg.LowConfidence, dg.Flagged, dg.Corrected} {
		where := ` FROM samples WHERE model_version = ? AND stratum = ?`
		want[s] = [3]int{
			count(`SELECT COUNT(*)`+where, first, string(s)), count(`SELECT COUNT(*)`+where+` AND label <> ''`, first, string(s)),
			count(`SELECT COUNT(*)`+where+` AND label = predicted_class`, first, string(s)),
		}
	}
	runs, labelled := count(`SELECT COUNT(*) FROM runs`), count(`SELECT COUNT(*) FROM samples WHERE label <> ''`)

	l, err := Open(ctx, path)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	must(t, l.Sound(ctx))
	must(t, l.Settle(ctx))
	if now, newest, err := l.Schema(ctx); err != nil || now != newest {
		t.Errorf("schema %d of %d, %v", now, newest, err)
	}
	all := dg.Interval{Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
	got := map[dg.Stratum][3]int{}
	for _, c := range get[[]dg.StratumCount](t)(l.Counts(ctx, first, all)) {
		g := got[c.Stratum]
		got[c.Stratum] = [3]int{g[0] + c.Predictions, g[1] + c.Labels, g[2] + c.Correct}
	}
	for s, w := range want {
		if w[0] == 0 || w[1] == 0 || got[s] != w {
			t.Errorf("%s: predictions, labels, correct are %v, were %v", s, got[s], w)
		}
	}
	if kept := get[[]Run](t)(l.Runs(ctx, "", 10_000)); len(kept) != runs {
		t.Errorf("%d runs, were %d", len(kept), runs)
	}
	if n := count(`SELECT COUNT(*) FROM samples WHERE label <> ''`); n != labelled || n != 3104 {
		t.Errorf("%d labels, were %d", n, labelled)
	}
}

func TestTheHistoryOfAnEarlierBuildCanBeRead(t *testing.T) {
	ctx := t.Context()
	path, _ := before(t)
	l, err := Open(ctx, path)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	retrained := get[[]Run](t)(l.Runs(ctx, "retrain", 10))
	if len(retrained) != 1 || retrained[0].State != RunDone {
		t.Fatalf("retrain runs: %+v, want one, done", retrained)
	}
	if cause, err := l.TriggerFor(ctx, retrained[0].ID); err != nil || cause.Source != dg.FromAlarm {
		t.Errorf("its trigger: %+v, %v, want the alarm", cause, err)
	}
	all := dg.Interval{Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
	if events := get[[]Event](t)(l.Events(ctx, all)); len(events) != 7 || !slices.IsSortedFunc(events, func(a, b Event) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) }) {
		t.Errorf("events: %+v, want 7 in order", events)
	}
	slots := 0
	for s, err := range l.AlarmSlots(ctx, "garments", all) {
		if must(t, err); s.ModelVersion == "" {
			t.Fatalf("slot %d: %+v", slots, s)
		}
		slots++
	}
	if slots != 129 {
		t.Errorf("%d slots of the alarm, want 129", slots)
	}
}

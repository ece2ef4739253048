package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	dg "driftgate"

	"github.com/pressly/goose/v3"
)

func TestPlaceholdersAreNumbered(t *testing.T) {
	for query, want := range map[string]string{
		`SELECT 1`:                       `SELECT 1`,
		`a = ? AND b IN (?, ?)`:          `a = $1 AND b IN ($2, $3)`,
		`a = ?2 AND b = ?1 AND c = ?2`:   `a = $2 AND b = $1 AND c = $2`,
		`a = '?' AND b = ? AND c = 'x?'`: `a = '?' AND b = $1 AND c = 'x?'`,
		`a = 'it''s ?' AND b = ?`:        `a = 'it''s ?' AND b = $1`,
	} {
		if got := numbered(query); got != want {
			t.Errorf("numbered(%s) = %s, want %s", query, got, want)
		}
	}
}

func TestNoErrorTellsThePassword(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for name, dsn := range map[string]string{
		"nobody listens":        "postgres://driftgate:sesame@127.0.0.1:1/db?connect_timeout=1",
		"no URL":                "postgres://driftgate:ses%ame@127.0.0.1:1/db",
		"a port that is none":   "postgresql://driftgate:sesame@127.0.0.1:x/db",
		"password as parameter": "postgres://127.0.0.1:1/db?password=sesame&connect_timeout=1",
		"unknown mode":          "postgres://driftgate:sesame@127.0.0.1:1/db?sslmode=sesame2",
		"a slash first":         "postgres://driftgate:/sesame@127.0.0.1:1/db",
		"a slash in it":         "postgres://driftgate:12/sesame@127.0.0.1:1/db",
	} {
		_, err := Open(ctx, dsn)
		if err == nil || strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "ses%ame") {
			t.Errorf("%s: %v; want an error without the password", name, err)
		}
	}
	if p := place("postgres://driftgate:12?sesame@127.0.0.1:1/db"); p != "PostgreSQL" {
		t.Errorf("the place is %q", p)
	}
	if _, err := Open(ctx, "postgres://driftgate:ses%ame@127.0.0.1/db"); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("a URL that is none: %v, want invalid", err)
	}
}

func TestTextThatNoDatabaseHoldsIsInvalidOrNotFound(t *testing.T) {
	l := open(t)
	for _, id := range []string{"a\x00b", "a\xffb"} {
		if _, err := l.Record(t.Context(), id); !errors.Is(err, dg.ErrNotFound) && !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%q: %v; want not found or invalid", id, err)
		}
	}
}

// A server may be set to a stricter isolation: there, what waited for its turn
// would still see the state before it, and fail.
func TestTwoProcessesWriteInTurnWhateverTheServersIsolation(t *testing.T) {
	if database.name == "sqlite" {
		t.Skip("one process owns a folder")
	}
	dsn := database.dsn(t) + "&options=-c%20default_transaction_isolation%3Dserializable"
	errs := make(chan error)
	for i := range 2 {
		l, err := Open(t.Context(), dsn)
		must(t, err)
		defer l.Close()
		go func() {
			var all error
			for n := range 20 {
				s := dg.Sample{Key: fmt.Sprintf("class_01/%d-%d.png", i, n), PredictedClass: "Bag", Confidence: .5, Timestamp: t0}
				all = errors.Join(all, l.Captured(t.Context(), s), l.Settle(t.Context()))
			}
			errs <- all
		}()
	}
	must(t, errors.Join(<-errs, <-errs))
}

func TestTwoProcessesMayOpenANewLedgerAtOnce(t *testing.T) {
	if database.name == "sqlite" {
		t.Skip("one process owns a folder")
	}
	dsn := database.dsn(t)
	errs := make(chan error)
	for range 3 {
		go func() {
			l, err := Open(t.Context(), dsn)
			if err == nil {
				err = l.Close()
			}
			errs <- err
		}()
	}
	for range 3 {
		must(t, <-errs)
	}
}

// A ledger of yesterday had three migrations. What it holds must count as
// before.
func TestALedgerOfYesterdayIsUpgraded(t *testing.T) {
	ctx, dsn := t.Context(), database.dsn(t)
	l := &Ledger{threshold: DefaultThreshold}
	db, err := l.connect(dsn)
	must(t, err)
	sub, err := fs.Sub(migrations, "migrations/"+l.dialect.name)
	must(t, err)
	p, err := goose.NewProvider(l.dialect.goose, db, sub)
	must(t, err)
	_, err = p.UpTo(ctx, 3)
	must(t, err)
	for i := range 100 {
		outcome, state := i%3, "noisy"
		if outcome > 0 {
			state = "labelled"
		}
		_, err := l.write.ExecContext(ctx, `INSERT INTO samples (id, object_key, at, predicted_class, confidence, model_version, in_production,
			state, stratum, sampling_fraction, interval_start, selected, reason, outcome) VALUES (?, ?, ?, 'Bag', .9, 'v1', 1, ?, 'random', .5, ?, 1, 'random', ?)`,
			fmt.Sprint(i), fmt.Sprintf("class_01/%d", i), nanos(t0.Add(time.Duration(i)*time.Minute)), state, nanos(t0), outcome)
		must(t, err)
	}
	_, err = l.write.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ('k', 'v')`)
	must(t, err)
	must(t, errors.Join(l.read.Close(), l.write.Close()))
	if db != l.write {
		must(t, db.Close())
	}

	l, err = Open(ctx, dsn)
	must(t, err)
	defer l.Close()
	for _, settle := range []bool{false, true} {
		if settle {
			must(t, l.Settle(ctx))
		}
		got := get[[]dg.StratumCount](t)(l.Counts(ctx, "v1", dg.Interval{Start: t0, End: t0.Add(2 * time.Hour)}))
		want := dg.StratumCount{Stratum: dg.Random, Interval: t0, Predictions: 100, Selected: 100, Labels: 66, Correct: 33,
			Moments: dg.Moments{F: 100 * 900, FF: 100 * 810_000, LabelF: 66 * 900, LabelFF: 66 * 810_000, LabelYF: 33 * 900_000, LabelYY: 33 * 1_000_000}}
		if len(got) != 1 || got[0] != want {
			t.Errorf("settled %t: %+v, want %+v", settle, got, want)
		}
	}
	if v, ok, err := l.Setting(ctx, "k"); v != "v" || !ok || err != nil {
		t.Error(v, ok, err)
	}
	// and back again, as far as the three
	p, err = goose.NewProvider(l.dialect.goose, plain(t, l, dsn), sub)
	must(t, err)
	_, err = p.DownTo(ctx, 3)
	must(t, err)
	var n int
	must(t, l.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM samples WHERE outcome = 1`).Scan(&n))
	if n != 33 {
		t.Errorf("%d right after going down, want 33", n)
	}
}

// plain is a pool that goose can migrate by.
func plain(t *testing.T, l *Ledger, dsn string) *sql.DB {
	t.Helper()
	if l.dialect.name == "sqlite" {
		return l.write
	}
	other := &Ledger{}
	db, err := other.connect(dsn)
	must(t, err)
	t.Cleanup(func() { _ = errors.Join(db.Close(), other.read.Close(), other.write.Close()) })
	return db
}

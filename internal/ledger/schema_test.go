package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
)

func TestAnOlderBuildRefusesANewerSchema(t *testing.T) {
	ctx := t.Context()
	dsn := database.dsn(t)
	l, err := Open(ctx, dsn)
	must(t, err)
	version, newest, err := l.Schema(ctx)
	must(t, err)
	if version != newest || newest < 8 {
		t.Errorf("schema %d of %d, want equal and at least 8", version, newest)
	}
	must(t, l.tx(ctx, "pretend", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, TRUE)`, newest+1)
		return err
	}))
	must(t, l.Close())
	if v, n, err := Inspect(ctx, dsn); err != nil || v != newest+1 || n != newest {
		t.Errorf("Inspect = %d, %d, %v, want %d, %d", v, n, err, newest+1, newest)
	}
	_, err = Open(ctx, dsn)
	if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("schema %d was made by a newer driftgate", newest+1)) {
		t.Errorf("a newer schema: %v", err)
	}
}

// Predictions are written all the while; every backup holds a prefix of them.
func TestABackupMadeWhileWritingIsOneMomentOfTheLedger(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	l, err := Open(ctx, path)
	must(t, err)
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var written int
	wg.Go(func() {
		for ; writing.Err() == nil; written += 2 {
			at := t0.Add(time.Duration(written) * time.Second)
			if err := l.Captured(ctx, sample(fmt.Sprintf("%06d.png", written), at, 0.9), sample(fmt.Sprintf("%06d.png", written+1), at, 0.9)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	seen := 0
	for i := range 5 {
		time.Sleep(20 * time.Millisecond)
		file := filepath.Join(dir, fmt.Sprintf("backup-%d.db", i))
		must(t, Backup(ctx, path, file))
		info, err := os.Stat(file)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, want 0600", info.Mode())
		}
		b, err := Open(ctx, file)
		must(t, err)
		must(t, b.Sound(ctx))
		got := get[[]Record](t)(All(b.Uncurated(ctx, t0.Add(1000*time.Hour))))
		if len(got) < seen || len(got)%2 != 0 {
			t.Errorf("backup %d holds %d samples, want an even number of at least %d", i, len(got), seen)
		}
		for n, r := range got {
			if want := fmt.Sprintf("%06d.png", n); r.ID() != want {
				t.Fatalf("backup %d: sample %d is %s, want %s", i, n, r.ID(), want)
			}
		}
		seen = len(got)
		must(t, b.Close())
	}
	stop()
	wg.Wait()
	if seen == 0 {
		t.Error("the last backup is empty: the test proves nothing")
	}
	must(t, l.Close())
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if must(t, err); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestABackupReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "ledger.db"), filepath.Join(dir, "kept")
	if err := Backup(t.Context(), path, file); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("no ledger: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the backup has made the ledger that it did not find")
	}
	l, err := Open(t.Context(), path)
	must(t, err)
	must(t, l.Close())
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	if err := Backup(t.Context(), path, file); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file now holds %q, %v", b, err)
	}
	if err := Backup(t.Context(), "postgres://a:secret-word@h/d", file+"2"); !errors.Is(err, dg.ErrInvalid) || strings.Contains(err.Error(), "secret-word") {
		t.Errorf("PostgreSQL: %v", err)
	}
}

func TestInspectingMakesNoLedger(t *testing.T) {
	dsn := database.dsn(t)
	for range 2 {
		if _, _, err := Inspect(t.Context(), dsn); !errors.Is(err, dg.ErrNotFound) {
			t.Fatalf("no ledger yet: %v", err)
		}
	}
}

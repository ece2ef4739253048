package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"driftgate"
	"driftgate/internal/ledger"
)

// What check looks at on this machine, and what leaves it without an answer.

// checkFolder looks for what others may read of the secrets in it.
func (a *App) checkFolder(context.Context) finding {
	for _, name := range []string{".", tokenFile, runFile, filepath.Join("objects", "credentials.json")} {
		info, err := os.Stat(filepath.Join(a.Config.Dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return broken(err, "give this user the right to read its folder")
		}
		if open := info.Mode().Perm() & 0o077; open != 0 && name != "." || open&0o022 != 0 {
			path := filepath.Join(a.Config.Dir, name)
			return warn("chmod go= "+path, "%s: mode %04o lets others in", path, info.Mode().Perm())
		}
	}
	return pass("%s", a.Config.Dir)
}

func (a *App) ledgerDSN() string {
	return cmp.Or(a.Config.Ledger.DSN, filepath.Join(a.Config.Dir, "ledger.db"))
}

const mendLedger = "restore a backup, or move it away and run driftgate ledger rebuild (docs/backup.md)"

func (a *App) checkColdLedger(ctx context.Context) finding {
	version, newest, err := ledger.Inspect(ctx, a.ledgerDSN())
	switch {
	case errors.Is(err, driftgate.ErrNotFound):
		return pass("none yet: made on the first start")
	case err != nil:
		return broken(err, "is the database up, and ledger.dsn right? If the file is damaged: "+mendLedger)
	case version > newest:
		return broken(fmt.Errorf("schema %d, this build knows up to %d", version, newest), "run the newer driftgate, or restore a backup made before the upgrade")
	case version < newest:
		return warn("back up first: driftgate ledger backup FILE", "schema %d: the next start brings it to %d, and older builds will refuse it then", version, newest)
	}
	if a.ledger, err = ledger.Open(ctx, a.ledgerDSN()); err != nil {
		return broken(err, mendLedger)
	}
	a.onClose(a.ledger.Close)
	return a.checkLedger(ctx)
}

func (a *App) checkLedger(ctx context.Context) finding {
	version, newest, err := a.ledger.Schema(ctx)
	if err == nil {
		err = a.ledger.Sound(ctx)
	}
	if err != nil {
		return broken(err, mendLedger)
	}
	return pass("schema %d of %d", version, newest)
}

// checkSpool writes a file as predictions do, and looks for room and for what
// was set aside.
func (a *App) checkSpool(context.Context) finding {
	dir := filepath.Join(a.Config.Dir, "spool")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return broken(err, "give this user the right to write there")
	}
	if err := probeFile(dir); err != nil {
		return broken(err, "give this user the right to write there, and the disk room: predictions are refused without it")
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return broken(err, "is the file system mounted?")
	}
	c := a.Config.Serving
	detail := "no gateway runs"
	if a.serving != nil {
		items, bytes := a.serving.Spooled()
		if detail = fmt.Sprintf("%d of %d predictions, %d bytes wait for the object store", items, c.SpoolItems, bytes); items > c.SpoolItems/2 {
			return broken(errors.New(detail), "is the object store reachable and fast enough? When the spool is full, /predict answers 503")
		}
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < c.SpoolBytes { //nolint:unconvert // of another type on other systems
		return warn("make room, or lower serving.spool_bytes", "%s; %d bytes free, less than serving.spool_bytes (%d)", detail, free, c.SpoolBytes)
	}
	for _, aside := range []string{"torn", "refused"} {
		if files, err := os.ReadDir(filepath.Join(dir, aside)); err == nil && len(files) > 0 {
			return warn("look at them, then move them away: their reason is in the log of that time", "%s; %d records were set aside in %s", detail, len(files), filepath.Join(dir, aside))
		}
	}
	return pass("%s", detail)
}

// probeFile makes, syncs and removes a file of the kind that the spool sweeps
// away by itself, should this process die in between.
func probeFile(dir string) error {
	f, err := os.CreateTemp(dir, "check-*.tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteString("driftgate check")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// checkToken judges the token as it is; own has refused one that is too short.
func (a *App) checkToken(context.Context) finding {
	if a.Config.HTTP.Token != "" {
		return pass("%d characters, from http.token", len(a.token))
	}
	return pass("%d characters, in %s", len(a.token), filepath.Join(a.Config.Dir, tokenFile))
}

// checkStatsD sends one count of zero. UDP confirms nothing, but a machine where
// nobody listens says so.
func (a *App) checkStatsD(ctx context.Context) finding {
	c := a.Config.StatsD
	if c.Address == "" {
		return pass("off: statsd.address is empty")
	}
	const fix = "is statsd.address right (host:port, UDP), and does the agent listen there?"
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", c.Address)
	if err != nil {
		return broken(err, fix)
	}
	defer func() { _ = conn.Close() }() // UDP: nothing is left to lose
	if _, err := fmt.Fprintf(conn, "%s.check:0|c", c.Prefix); err != nil {
		return broken(err, fix)
	}
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return broken(err, fix)
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNREFUSED) {
		return broken(fmt.Errorf("%s: nobody listens: %w", c.Address, err), fix)
	}
	return pass("sent to %s; UDP confirms nothing", conn.RemoteAddr())
}

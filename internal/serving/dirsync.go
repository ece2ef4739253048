package serving

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	dg "driftgate"
)

// dirSync makes the names in a folder durable, for many callers at once with
// one fsync: those who come while one runs share the next.
type dirSync struct {
	dir  string
	turn sync.Mutex // held while an fsync runs
	mu   sync.Mutex
	next *sharedSync // has not begun yet; may be joined
}

type sharedSync struct {
	done chan struct{}
	err  error // read after done
}

// Sync returns once every name made or removed before the call is durable.
func (d *dirSync) Sync() error {
	d.mu.Lock()
	if s := d.next; s != nil {
		d.mu.Unlock()
		<-s.done
		return s.err
	}
	s := &sharedSync{done: make(chan struct{})}
	d.next = s
	d.mu.Unlock()

	d.turn.Lock()
	d.mu.Lock()
	d.next = nil // from here on, newcomers may have come too late for this one
	d.mu.Unlock()
	s.err = fsyncDir(d.dir)
	d.turn.Unlock()
	close(s.done)
	return s.err
}

func fsyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	_ = f.Close() // read-only
	return err
}

// writeDurable creates path with content b, on disk when it returns nil. On an
// error no file of that name is left.
func writeDurable(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return full(err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(path) // a torn record is set aside on the next start anyway
		return full(err)
	}
	return nil
}

// replaceDurable puts b in the place of path's content, all or nothing. The
// folder must be synced afterwards.
func replaceDurable(path string, b []byte) error {
	temp := path + tempSuffix
	_ = os.Remove(temp) // of an edit that was cut off
	if err := writeDurable(temp, b); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// full gives a full disk its kind.
func full(err error) error {
	if isDiskFull(err) {
		return fmt.Errorf("%w: %w", dg.ErrFull, err)
	}
	return err
}

func isDiskFull(err error) bool {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

const (
	recordSuffix = ".rec"
	tempSuffix   = ".tmp"
)

func recordPath(dir, id string) string { return filepath.Join(dir, id+recordSuffix) }

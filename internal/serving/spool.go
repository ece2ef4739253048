package serving

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	dg "driftgate"
)

// Folders within the spool for what can't go on: kept for a person to look at.
const (
	tornFolder    = "torn"    // found damaged; its prediction was never acknowledged
	refusedFolder = "refused" // the store calls it invalid, so the same again fails again
)

// spool keeps acknowledged predictions in a folder, one durable file each,
// until they are in the store. It is bounded in items and bytes; when full it
// says so and never drops.
//
// An entry's lock is held by whoever works on it: an edit of its tags, or the
// upload from before the put until its removal is durable. So an edit goes
// either to the file before the put reads it, or to the bucket after the file
// is gone, and a restart can never put old tags over new ones.
type spool struct {
	dir      string
	maxItems int
	maxBytes int64
	log      *slog.Logger
	names    dirSync
	wake     chan struct{} // holds a token while waiting is not empty

	mu      sync.Mutex
	waiting []*entry          // for an upload, in this order
	entries map[string]*entry // by key
	items   int               // entries and those being written
	bytes   int64             // of their files
}

type entry struct {
	key  string
	path string
	lock chan struct{} // one slot; see spool
	size int64         // bytes of the file; owned by the lock's holder
	gone bool          // no longer in the spool; owned by the lock's holder
}

// openSpool opens the folder, making it if need be, and takes up every record
// in it. Torn records are set aside with a log line.
func openSpool(dir string, maxItems int, maxBytes int64, log *slog.Logger) (*spool, error) {
	dir, err := filepath.Abs(dir) // the embedded store changes the working directory
	if err != nil {
		return nil, fmt.Errorf("serving: open spool: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("serving: open spool: %w", err)
	}
	if err := fsyncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("serving: open spool: %w", err)
	}
	s := &spool{dir: dir, maxItems: maxItems, maxBytes: maxBytes, log: log,
		names: dirSync{dir: dir}, wake: make(chan struct{}, 1), entries: map[string]*entry{}}
	found, err := s.scan()
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		s.entries[e.key] = e
		s.bytes += e.size
	}
	s.items = len(found)
	s.push(found...)
	if s.items > 0 {
		log.Info("spool holds predictions of an earlier process", "items", s.items, "bytes", s.bytes)
	}
	return s, nil
}

// scan returns the folder's good records, oldest prediction first.
func (s *spool) scan() ([]*entry, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("serving: scan spool: %w", err)
	}
	var found []*entry
	age := map[*entry]string{}
	for _, f := range files {
		path := filepath.Join(s.dir, f.Name())
		switch filepath.Ext(f.Name()) {
		case tempSuffix: // an edit that was cut off before it was acknowledged
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("serving: scan spool: %w", err)
			}
		case recordSuffix:
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("serving: scan spool: %w", err)
			}
			r, err := decodeRecord(b)
			if err != nil {
				if err := s.setAside(path, tornFolder, err); err != nil {
					return nil, err
				}
				continue
			}
			e := &entry{key: r.Key, path: path, lock: make(chan struct{}, 1), size: int64(len(b))}
			found, age[e] = append(found, e), r.Tags[dg.TagTimestamp]
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Or(strings.Compare(age[a], age[b]), strings.Compare(a.key, b.key)) })
	return found, nil
}

// add makes r durable and queues it. When the spool is full, the error is
// [driftgate.ErrFull] and nothing is kept.
func (s *spool) add(r record) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	_, id, err := dg.ParseKey(r.Key)
	if err != nil {
		return fmt.Errorf("serving: spool: %w", err)
	}
	size := int64(len(b))
	if err := s.reserve(size); err != nil {
		return err
	}
	e := &entry{key: r.Key, path: recordPath(s.dir, id), lock: make(chan struct{}, 1), size: size}
	if err := writeDurable(e.path, b); err != nil {
		s.release(size)
		return fmt.Errorf("serving: spool %s: %w", r.Key, err)
	}
	if err := s.names.Sync(); err != nil {
		_ = os.Remove(e.path) // not acknowledged; if it survives it is uploaded once
		s.release(size)
		return fmt.Errorf("serving: spool %s: %w", r.Key, err)
	}
	s.mu.Lock()
	s.entries[e.key] = e
	s.mu.Unlock()
	s.push(e)
	return nil
}

// push puts entries at the end of the queue.
func (s *spool) push(es ...*entry) {
	if len(es) == 0 {
		return
	}
	s.mu.Lock()
	s.waiting = append(s.waiting, es...)
	s.mu.Unlock()
	s.signal()
}

func (s *spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // there is a token
	}
}

// pop takes the first entry of the queue; nil when another was faster.
func (s *spool) pop() *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	e := s.waiting[0]
	s.waiting[0] = nil
	if s.waiting = s.waiting[1:]; len(s.waiting) > 0 {
		s.signal()
	}
	return e
}

func (s *spool) reserve(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items >= s.maxItems || s.bytes+size > s.maxBytes {
		return fmt.Errorf("serving: spool holds %d predictions in %d bytes, at most %d in %d: the object store does not keep up: %w",
			s.items, s.bytes, s.maxItems, s.maxBytes, dg.ErrFull)
	}
	s.items++
	s.bytes += size
	return nil
}

func (s *spool) release(size int64) {
	s.mu.Lock()
	s.items--
	s.bytes -= size
	s.mu.Unlock()
}

// size returns the number of records and the bytes of their files.
func (s *spool) size() (items int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items, s.bytes
}

// next waits for a record and takes its lock.
func (s *spool) next(ctx context.Context) (*entry, bool) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return nil, false
		case <-s.wake:
		}
		e := s.pop()
		if e == nil {
			continue
		}
		select {
		case e.lock <- struct{}{}: // an edit may hold it for an fsync
			return e, true
		case <-ctx.Done():
			s.push(e)
		}
	}
	return nil, false
}

// load reads the record of an entry whose lock is held.
func (s *spool) load(e *entry) (record, error) {
	b, err := os.ReadFile(e.path)
	if err != nil {
		return record{}, fmt.Errorf("serving: read spooled %s: %w", e.key, err)
	}
	r, err := decodeRecord(b)
	if err != nil {
		return record{}, fmt.Errorf("serving: read spooled %s: %w", e.key, err)
	}
	return r, nil
}

// read returns the record at key, if it is in the spool.
func (s *spool) read(key string) (record, bool, error) {
	s.mu.Lock()
	e := s.entries[key]
	s.mu.Unlock()
	if e == nil {
		return record{}, false, nil
	}
	r, err := s.load(e)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil // uploaded and removed meanwhile
	}
	return r, err == nil, err
}

// edit changes the tags of the record at key, durably, waiting for an upload
// under way. It reports false if the record is not, or no longer, in the spool.
func (s *spool) edit(ctx context.Context, key string, change func(tags map[string]string)) (bool, error) {
	s.mu.Lock()
	e := s.entries[key]
	s.mu.Unlock()
	if e == nil {
		return false, nil
	}
	select {
	case e.lock <- struct{}{}:
	case <-ctx.Done():
		return false, fmt.Errorf("serving: edit %s while its upload is under way: %w", key, ctx.Err())
	}
	defer func() { <-e.lock }()
	if e.gone {
		return false, nil
	}
	r, err := s.load(e)
	if err != nil {
		return false, err
	}
	change(r.Tags)
	b, err := r.encode()
	if err != nil {
		return false, err
	}
	if err := replaceDurable(e.path, b); err != nil {
		return false, fmt.Errorf("serving: edit %s: %w", key, err)
	}
	if err := s.names.Sync(); err != nil {
		return false, fmt.Errorf("serving: edit %s: %w", key, err)
	}
	s.mu.Lock() // an edit may pass the bound by its few bytes: it is never refused
	s.bytes += int64(len(b)) - e.size
	s.mu.Unlock()
	e.size = int64(len(b))
	return true, nil
}

// requeue gives up the lock of an entry whose upload failed.
func (s *spool) requeue(es ...*entry) {
	for _, e := range es {
		<-e.lock
	}
	s.push(es...)
}

// remove deletes the files of uploaded entries and gives up their locks.
func (s *spool) remove(es ...*entry) error {
	for _, e := range es {
		if err := os.Remove(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("serving: remove spooled %s: %w", e.key, err)
		}
	}
	if err := s.names.Sync(); err != nil {
		return fmt.Errorf("serving: remove spooled: %w", err)
	}
	for _, e := range es {
		s.forget(e)
	}
	return nil
}

func (s *spool) forget(e *entry) {
	s.mu.Lock()
	delete(s.entries, e.key)
	s.mu.Unlock()
	s.release(e.size)
	e.gone = true
	<-e.lock
}

// refuse moves a record that can never be uploaded out of the way.
func (s *spool) refuse(e *entry, folder string, cause error) error {
	if err := s.setAside(e.path, folder, cause); err != nil {
		return err
	}
	s.forget(e)
	return nil
}

func (s *spool) setAside(path, folder string, cause error) error {
	dir := filepath.Join(s.dir, folder)
	aside := filepath.Join(dir, filepath.Base(path))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("serving: set aside %s: %w", path, err)
	}
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("serving: set aside %s: %w", path, err)
	}
	if err := errors.Join(fsyncDir(dir), s.names.Sync()); err != nil {
		return fmt.Errorf("serving: set aside %s: %w", path, err)
	}
	s.log.Error("spooled prediction set aside", "file", aside, "cause", cause)
	return nil
}

// drained waits until the spool is empty.
func (s *spool) drained(ctx context.Context) error {
	const look = 10 * time.Millisecond
	for {
		items, _ := s.size()
		if items == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("serving: drain spool of %d predictions: %w", items, ctx.Err())
		case <-time.After(look):
		}
	}
}

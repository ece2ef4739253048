package trainer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
)

// message is one line of a child's output: its progress, or its last word.
type message struct {
	Progress
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"` // of the error, a key of kinds
}

// kinds are the errors that keep their identity on the way to the parent.
var kinds = []struct {
	name string
	err  error
}{
	{"diverged", network.ErrDiverged}, // before invalid, which it also is
	{"invalid", dg.ErrInvalid},
	{"not_found", dg.ErrNotFound},
	{"too_few_samples", dg.ErrTooFewSamples},
	{"cancelled", context.Canceled},
}

// childError is a child's error with its kinds restored.
type childError struct {
	text string
	kind error
}

func (e *childError) Error() string { return e.text }

func (e *childError) Unwrap() []error {
	if errors.Is(e.kind, network.ErrDiverged) {
		return []error{e.kind, dg.ErrInvalid}
	}
	return []error{e.kind}
}

const (
	maxLine = 1 << 20 // bytes of one line of a child's output
	maxJob  = 256 << 20
	grace   = 10 * time.Second // from SIGTERM to SIGKILL
	maxTail = 4 << 10          // bytes of a child's log that an error quotes
)

// Spawn runs a job in a child process, exe with args, which must end up in
// [Child], and returns the files of its artifact. The job travels on the
// child's stdin, with the secrets only there. The child runs at low priority
// in a process group of its own; its log goes to this process's stderr.
//
// When ctx ends the child gets SIGTERM and, ten seconds later, SIGKILL. When
// this process dies the child sees its stdin close and ends too. A job that is
// already done starts no child. After a crash of either side call Spawn again
// with the same job: it goes on from the checkpoint.
func Spawn(ctx context.Context, exe string, args []string, job Job, progress func(Progress)) (map[string][]byte, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	if err := job.Validate(); err != nil {
		return nil, err
	}
	if job.Dir == "" {
		return nil, fmt.Errorf("trainer: spawn: dir: want a folder for checkpoint and artifact: %w", dg.ErrInvalid)
	}
	key, err := job.key()
	if err != nil {
		return nil, err
	}
	if _, files, err := readFinished(job.Dir, key); err == nil {
		return files, nil
	}
	line, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("trainer: encode job: %w: %w", dg.ErrInvalid, err)
	}
	if err := os.MkdirAll(job.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("trainer: spawn: %w", err)
	}
	if err := runChild(ctx, exe, args, append(line, '\n'), progress); err != nil {
		return nil, err
	}
	_, files, err := readFinished(job.Dir, key)
	if err != nil {
		return nil, fmt.Errorf("trainer: the child ended without an artifact in %s: %w", job.Dir, err)
	}
	return files, nil
}

func runChild(ctx context.Context, exe string, args []string, job []byte, progress func(Progress)) error {
	log := &tail{to: os.Stderr}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stderr = log
	cmd.WaitDelay = grace
	ownGroup(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("trainer: spawn: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("trainer: spawn: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("trainer: spawn %s: %w", exe, err)
	}
	sent := make(chan error, 1)
	go func() { // the pipe stays open: its end is the child's sign to stop
		_, err := stdin.Write(job)
		sent <- err
	}()
	last, bad := listen(stdout, progress)
	err = cmd.Wait() // closes stdin, which ends the goroutine if the child never read
	sendErr := <-sent
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("trainer: training was stopped: %w", context.Cause(ctx))
	case last.Error != "":
		return last.failure()
	case err != nil:
		return fmt.Errorf("trainer: child: %w: %s", errors.Join(err, sendErr, bad), log.text())
	}
	return bad
}

// listen reads a child's lines until they end and returns its last word.
func listen(r io.Reader, progress func(Progress)) (last message, err error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		var m message
		if e := json.Unmarshal(sc.Bytes(), &m); e != nil {
			err = fmt.Errorf("trainer: child said %.100q, want a line of JSON: %w", sc.Text(), e)
			continue
		}
		if m.Error != "" {
			last = m
			continue
		}
		progress(m.Progress)
	}
	if e := sc.Err(); e != nil {
		err = errors.Join(err, fmt.Errorf("trainer: read from child: %w", e))
		_, e = io.Copy(io.Discard, r) // or it blocks on a full pipe
		err = errors.Join(err, e)
	}
	return last, err
}

func (m message) failure() error {
	for _, k := range kinds {
		if k.name == m.Kind {
			return &childError{m.Error, k.err}
		}
	}
	return errors.New(m.Error)
}

// tail passes a child's log on and remembers its end.
type tail struct {
	to   io.Writer
	last []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.last = append(t.last, b...)
	t.last = t.last[max(0, len(t.last)-maxTail):]
	return t.to.Write(b)
}

func (t *tail) text() string {
	if len(t.last) == 0 {
		return "it left no message"
	}
	return string(t.last)
}

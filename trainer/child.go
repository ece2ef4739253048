package trainer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"runtime"
	"syscall"

	dg "driftgate"
)

// errParent is why a child stops on its own.
var errParent = errors.New("stdin was closed: the parent has gone")

// Child is what the process started by [Spawn] runs: it reads a job from
// stdin, trains it, writes progress as JSON lines to stdout, and leaves the
// artifact in the job's folder. It stops when ctx ends, on SIGTERM, and as soon
// as stdin closes, so that no orphan trains on. The error has been written to
// stdout too; the caller only has to exit with a code other than 0.
func Child(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	out := json.NewEncoder(stdout)
	err := child(ctx, stdin, out)
	if err != nil {
		m := message{Error: err.Error()}
		for _, k := range kinds {
			if errors.Is(err, k.err) {
				m.Kind = k.name
				break
			}
		}
		err = errors.Join(err, out.Encode(m))
	}
	return err
}

func child(ctx context.Context, stdin io.Reader, out *json.Encoder) error {
	lowerPriority()
	saveMemory()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	in := bufio.NewReader(stdin)
	job, err := readJob(in)
	if err != nil {
		return err
	}
	go func() { // ends with the process: a read of stdin cannot be interrupted
		_, err := io.Copy(io.Discard, in)
		cancel(errors.Join(errParent, err))
	}()
	if job.Options.Threads > 0 {
		runtime.GOMAXPROCS(job.Options.Threads)
	}
	ctx, phase, flush := traced(ctx, job)
	_, err = Train(ctx, job, func(p Progress) {
		phase(p.Phase)
		if err := out.Encode(message{Progress: p}); err != nil {
			cancel(fmt.Errorf("trainer: write progress: %w", err))
		}
	})
	flush(err)
	slog.Info("training process ends", "component", "trainer", "run", job.RunID, "peak_memory_mib", peakMemory()>>10)
	return err
}

// readJob reads one line of JSON.
func readJob(in *bufio.Reader) (job Job, err error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if line = append(line, part...); len(line) > maxJob {
			return job, fmt.Errorf("trainer: read job: over %d bytes: %w", maxJob, dg.ErrInvalid)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return job, fmt.Errorf("trainer: read job: want one line of JSON on stdin: %w: %w", dg.ErrInvalid, err)
		}
	}
	if err := json.Unmarshal(line, &job); err != nil {
		return job, fmt.Errorf("trainer: read job: %w: %w", dg.ErrInvalid, err)
	}
	return job, nil
}

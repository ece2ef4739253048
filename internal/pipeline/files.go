package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/trainer"
)

// A run's folder holds job.json, what the trainer keeps there, and files/, the
// finished artifact. It is deleted when the run's outcome is known.

var runForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (p *Pipelines) dir(runID string) (string, error) {
	if !runForm.MatchString(runID) {
		return "", fmt.Errorf("pipeline: run id %q: want letters, digits, - . _ only, as it names a folder: %w", runID, dg.ErrInvalid)
	}
	return filepath.Join(p.o.Dir, runID), nil
}

// writeJob keeps the job without the store's address and secrets.
func writeJob(dir string, job trainer.Job) error {
	job.Store = objstore.Options{}
	b, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("pipeline: encode job: %w: %w", dg.ErrInvalid, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("pipeline: run folder: %w", err)
	}
	next := filepath.Join(dir, "job.json.next")
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return fmt.Errorf("pipeline: write job: %w", err)
	}
	if err := os.Rename(next, filepath.Join(dir, "job.json")); err != nil {
		return fmt.Errorf("pipeline: write job: %w", err)
	}
	return nil
}

func readJob(dir string) (job trainer.Job, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "job.json"))
	if err == nil {
		err = json.Unmarshal(b, &job)
	}
	if err != nil {
		return job, fmt.Errorf("pipeline: read job: %w: %w", err, dg.ErrNotFound)
	}
	return job, nil
}

// writeFiles keeps a finished artifact, all of it or nothing.
func writeFiles(dir string, files map[string][]byte) error {
	next, final := filepath.Join(dir, "files.next"), filepath.Join(dir, "files")
	fail := func(err error) error { return fmt.Errorf("pipeline: keep artifact: %w", err) }
	if err := errors.Join(os.RemoveAll(next), os.RemoveAll(final)); err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(next, 0o700); err != nil {
		return fail(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(next, filepath.Base(name)), b, 0o600); err != nil {
			return fail(err)
		}
	}
	if err := os.Rename(next, final); err != nil {
		return fail(err)
	}
	return nil
}

// readFiles returns the finished artifact in a run's folder, checked; ok is
// false when there is none, or a broken one.
func readFiles(dir string) (files map[string][]byte, a *network.Artifact, ref dg.ModelRef, ok bool) {
	entries, err := os.ReadDir(filepath.Join(dir, "files"))
	if err != nil {
		return nil, nil, "", false
	}
	files = map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, "files", e.Name())); err != nil {
			return nil, nil, "", false
		}
	}
	a, ref, err = network.ReadArtifact(files)
	return files, a, ref, err == nil
}

func (p *Pipelines) removeDir(runID string) {
	dir, err := p.dir(runID)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn("run folder was not deleted", "run", runID, "error", err)
	}
}

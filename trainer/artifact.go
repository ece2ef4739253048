package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	dg "driftgate"
	"driftgate/internal/network"
)

// The finished artifact lies in job.Dir/artifact, beside the key of its job.
const (
	artifactDir = "artifact"
	jobFile     = "job.sha256"
)

// readFinished returns the artifact in dir if it is whole and was made by the
// job with this key; the error is then nil. Anything else there is
// [dg.ErrNotFound]: train again.
func readFinished(dir, key string) (*network.Artifact, map[string][]byte, error) {
	if dir == "" {
		return nil, nil, dg.ErrNotFound
	}
	from := filepath.Join(dir, artifactDir)
	made, err := os.ReadFile(filepath.Join(from, jobFile))
	if err != nil || string(made) != key {
		return nil, nil, errors.Join(dg.ErrNotFound, ignoreMissing(err))
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, nil, errors.Join(dg.ErrNotFound, ignoreMissing(err))
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if e.Name() == jobFile {
			continue
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(from, e.Name())); err != nil {
			return nil, nil, errors.Join(dg.ErrNotFound, ignoreMissing(err))
		}
	}
	a, _, err := network.ReadArtifact(files)
	if err != nil {
		return nil, nil, errors.Join(dg.ErrNotFound, err)
	}
	return a, files, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeFinished puts the artifact in place in one move, and removes the
// checkpoints that it makes useless.
func writeFinished(dir, key string, files map[string][]byte) (err error) {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("trainer: write artifact: %w", err)
	}
	tmp, err := os.MkdirTemp(dir, artifactDir+".tmp-*")
	if err != nil {
		return fmt.Errorf("trainer: write artifact: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	for name, b := range files {
		if err := writeFile(filepath.Join(tmp, name), b); err != nil {
			return fmt.Errorf("trainer: write artifact: %w", err)
		}
	}
	if err := writeFile(filepath.Join(tmp, jobFile), []byte(key)); err != nil {
		return fmt.Errorf("trainer: write artifact: %w", err)
	}
	to := filepath.Join(dir, artifactDir)
	if err := os.RemoveAll(to); err != nil { // another job's, or a broken one
		return fmt.Errorf("trainer: write artifact: %w", err)
	}
	if err := os.Rename(tmp, to); err != nil {
		return fmt.Errorf("trainer: write artifact: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("trainer: write artifact: %w", err)
	}
	if err := errors.Join(ignoreMissing(os.Remove(filepath.Join(dir, checkpointFile))), os.RemoveAll(filepath.Join(dir, trialsDir))); err != nil {
		return fmt.Errorf("trainer: write artifact: %w", err)
	}
	return nil
}

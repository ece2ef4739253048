package trainer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
	"driftgate/internal/network"
)

const checkpointFile = "checkpoint.safetensors"

// state is a training between two epochs. The order of the samples follows
// from seed and epoch, so no generator's state is needed beside them.
type state struct {
	Job       string  `json:"job"`     // key of the job
	Samples   string  `json:"samples"` // digest of what it trains on: images may vanish between two tries
	Epoch     int     `json:"epoch"`   // epochs done
	BestEpoch int     `json:"best_epoch"`
	BestLoss  float64 `json:"best_loss"` // of validation; of training without one
	Stale     int     `json:"stale"`     // epochs since the best
	TrainLoss float64 `json:"train_loss"`
	TrainAcc  float64 `json:"train_accuracy"`
	ValidAcc  float64 `json:"validation_accuracy"` // of the best epoch
	Varied    int     `json:"varied"`              // images that augmentation changed

	Curves []network.Epoch `json:"curves"`
	Every  int             `json:"every"` // epochs between two points of the curves; 0 is 1

	Steps int `json:"steps"` // the optimiser's

	weights, best network.Weights
	optimiser     network.OptimiserState // of what learns
}

// maxPoints bounds the curves: a checkpoint holds them too.
const maxPoints = 500

// plot adds a point to the curves. When there are too many, every second goes;
// the newest is always there.
func (s *state) plot(p network.Epoch) {
	s.Every = max(1, s.Every)
	if n := len(s.Curves); n > 0 && s.Curves[n-1].Epoch%s.Every != 0 {
		s.Curves = s.Curves[:n-1]
	}
	if s.Curves = append(s.Curves, p); len(s.Curves) > maxPoints {
		s.Every *= 2
		s.Curves = slices.DeleteFunc(s.Curves, func(q network.Epoch) bool { return q.Epoch%s.Every != 0 && q.Epoch != p.Epoch })
	}
}

// The groups of a checkpoint's tensors: the network's names, prefixed; the
// optimiser's moments are moment.0. and so on.
const (
	weightsPrefix = "weights."
	bestPrefix    = "best."
	momentPrefix  = "moment."
)

func (s *state) tensors() (out []network.Tensor) {
	add := func(prefix string, w network.Weights) {
		for _, t := range w {
			t.Name = prefix + t.Name
			out = append(out, t)
		}
	}
	add(weightsPrefix, s.weights)
	add(bestPrefix, s.best)
	for i, m := range s.optimiser.Moments {
		add(momentPrefix+strconv.Itoa(i)+".", m)
	}
	return out
}

// put sorts a tensor into its group; false means that it belongs to none.
func (s *state) put(t network.Tensor) bool {
	if name, ok := strings.CutPrefix(t.Name, weightsPrefix); ok {
		t.Name = name
		s.weights = append(s.weights, t)
		return true
	}
	if name, ok := strings.CutPrefix(t.Name, bestPrefix); ok {
		t.Name = name
		s.best = append(s.best, t)
		return true
	}
	number, name, _ := strings.Cut(strings.TrimPrefix(t.Name, momentPrefix), ".")
	i, err := strconv.Atoi(number)
	m := &s.optimiser.Moments
	if err != nil || i < 0 || i > len(*m) {
		return false
	}
	if i == len(*m) {
		*m = append(*m, nil)
	}
	t.Name = name
	(*m)[i] = append((*m)[i], t)
	return true
}

// save writes the state over the last checkpoint: whole, or not at all.
func (s *state) save(dir string) error {
	if dir == "" {
		return nil
	}
	s.Steps = s.optimiser.Steps
	meta, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("trainer: save checkpoint: %w", err)
	}
	b, err := network.EncodeSafetensors(s.tensors(), map[string]string{"state": string(meta)})
	if err != nil {
		return fmt.Errorf("trainer: save checkpoint: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("trainer: save checkpoint: %w", err)
	}
	if err := writeFile(filepath.Join(dir, checkpointFile), b); err != nil {
		return fmt.Errorf("trainer: save checkpoint: %w", err)
	}
	return nil
}

// readCheckpoint reads the checkpoint in dir of a network of which learns is
// trained. The error is [dg.ErrNotFound] without one, and [dg.ErrInvalid] for
// one that is broken or does not fit.
func readCheckpoint(dir string, spec, learns network.Spec) (*state, error) {
	if dir == "" {
		return nil, dg.ErrNotFound
	}
	b, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, dg.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("trainer: read checkpoint: %w", err)
	}
	tensors, meta, err := network.DecodeSafetensors(b)
	if err != nil {
		return nil, fmt.Errorf("trainer: read checkpoint: %w", err)
	}
	s := &state{}
	if err := json.Unmarshal([]byte(meta["state"]), s); err != nil {
		return nil, fmt.Errorf("trainer: read checkpoint: %w: %w", dg.ErrInvalid, err)
	}
	s.optimiser.Steps = s.Steps
	for _, t := range tensors {
		if !s.put(t) {
			return nil, fmt.Errorf("trainer: read checkpoint: tensor %.80q belongs to nothing: %w", t.Name, dg.ErrInvalid)
		}
	}
	err = errors.Join(s.weights.Check(spec), s.best.Check(spec))
	for _, m := range s.optimiser.Moments {
		err = errors.Join(err, m.CheckLearned(learns))
	}
	if err != nil {
		return nil, fmt.Errorf("trainer: read checkpoint: %w", err)
	}
	return s, nil
}

// writeFile writes and syncs a file beside path and moves it there.
func writeFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

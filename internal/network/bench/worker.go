//go:build bench

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/kernel"
	"driftgate/internal/network"
)

// request is one line that a worker reads, in Go and in worker.py.
type request struct {
	Op      string  `json:"op"` // hello, load, run, losses, memory, peak
	Seconds float64 `json:"seconds,omitempty"`
	Steps   int     `json:"steps,omitempty"`

	// load
	Spec         network.Spec `json:"spec"`
	Mode         string       `json:"mode,omitempty"` // Train or Infer
	Batch        int          `json:"batch,omitempty"`
	ChannelsLast bool         `json:"channels_last"`
	Weights      string       `json:"weights,omitempty"` // files of little-endian numbers
	Dims         [][]int      `json:"dims,omitempty"`
	Inputs       string       `json:"inputs,omitempty"`
	Labels       string       `json:"labels,omitempty"`
	LearningRate float64      `json:"learning_rate"`
	Momentum     float64      `json:"momentum"`
	WeightDecay  float64      `json:"weight_decay"`
}

// reply is one line that a worker writes.
type reply struct {
	Error     string    `json:"error,omitempty"`
	Version   string    `json:"version,omitempty"`
	Libraries []string  `json:"libraries,omitempty"`
	Samples   int       `json:"samples,omitempty"`
	Seconds   float64   `json:"seconds,omitempty"`
	CPU       float64   `json:"cpu,omitempty"` // seconds of processor time
	Losses    []float64 `json:"losses,omitempty"`
	Logits    []float32 `json:"logits,omitempty"`
	Memory    int       `json:"memory,omitempty"` // peak resident, bytes
	GFLOPS    float64   `json:"gflops,omitempty"`
}

const (
	train = "train"
	infer = "infer"
)

// serve is the side that computes in Go.
func serve(in io.Reader, out io.Writer) {
	w := &worker{}
	lines, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q request
		if err := lines.Decode(&q); err != nil {
			return // the pipe is closed: the end
		}
		r, err := w.answer(q)
		if err != nil {
			r = reply{Error: err.Error()}
		}
		if answers.Encode(r) != nil {
			return
		}
	}
}

// worker holds one case.
type worker struct {
	q          request
	inputs     [][]float32
	labels     [][]int
	learner    *network.Learner
	classifier *network.Classifier
	steps      int
}

func (w *worker) answer(q request) (reply, error) {
	switch q.Op {
	case "hello":
		return reply{Version: runtime.Version() + ", " + kernel.Active().String(), Memory: peakMemory()}, kernel.Check()
	case "load":
		return reply{}, w.load(q)
	case "run":
		return w.run(q.Seconds)
	case "losses":
		return w.losses(q.Steps)
	case "memory":
		return reply{Memory: peakMemory()}, nil
	case "peak":
		return peak(), nil
	}
	return reply{}, fmt.Errorf("op %q is unknown", q.Op)
}

func (w *worker) load(q request) error {
	*w = worker{q: q}
	values, err := readNumbers(q.Weights, math.Float32frombits)
	if err != nil {
		return err
	}
	weights := make(network.Weights, 0, len(q.Dims))
	for _, shape := range q.Spec.Layout() {
		n := shape.Size()
		weights = append(weights, network.Tensor{Name: shape.Name, Shape: shape.Dims, Data: values[:n:n]})
		values = values[n:]
	}
	x, err := readNumbers(q.Inputs, math.Float32frombits)
	if err != nil {
		return err
	}
	y, err := readNumbers(q.Labels, func(v uint32) int { return int(v) })
	if err != nil {
		return err
	}
	for ; len(y) >= q.Batch; x, y = x[q.Batch*q.Spec.Inputs():], y[q.Batch:] {
		w.inputs, w.labels = append(w.inputs, x[:q.Batch*q.Spec.Inputs()]), append(w.labels, y[:q.Batch])
	}
	if q.Mode == train {
		w.learner, err = network.NewLearner(q.Spec, q.Batch, weights, network.SGD, network.OptimiserState{})
		return err
	}
	w.classifier, err = classify(q.Spec, weights)
	return err
}

// classify makes a classifier as serving does, from an artifact.
func classify(s network.Spec, w network.Weights) (*network.Classifier, error) {
	in := s.Input
	mean, std := make([]float32, in.Channels), make([]float32, in.Channels)
	for i := range std {
		std[i] = 1
	}
	classes := make(dg.Classes, s.Classes)
	for i := range classes {
		classes[i] = "class " + strconv.Itoa(i)
	}
	a := &network.Artifact{Weights: w, Manifest: network.Manifest{
		FormatVersion: network.FormatVersion, Spec: s, Classes: classes,
		Preprocessing: dataset.Preprocessing{Width: in.Width, Height: in.Height, Channels: in.Channels, Resize: dataset.ResizeStretch, Mean: mean, Std: std},
		Calibration:   network.Calibration{Temperature: 1},
	}}
	if err := a.RecordSelfTest([][]byte{make([]byte, in.Values())}); err != nil {
		return nil, err
	}
	return network.NewClassifier(a)
}

// step does one batch and returns its loss, of training.
func (w *worker) step() (float64, error) {
	i := w.steps % len(w.inputs)
	w.steps++
	if w.classifier != nil {
		_, err := w.classifier.Logits(w.inputs[i])
		return 0, err
	}
	o := network.Optimiser{Kind: network.SGD, LearningRate: w.q.LearningRate, Momentum: w.q.Momentum, WeightDecay: w.q.WeightDecay}
	st, err := w.learner.Step(network.Batch{Inputs: w.inputs[i], Labels: w.labels[i]}, o)
	return st.Loss, err
}

func (w *worker) run(seconds float64) (reply, error) {
	began, cpu := time.Now(), processorSeconds()
	for n := w.q.Batch; ; n += w.q.Batch {
		if _, err := w.step(); err != nil {
			return reply{}, err
		}
		if took := time.Since(began).Seconds(); took >= seconds {
			return reply{Samples: n, Seconds: took, CPU: processorSeconds() - cpu}, nil
		}
	}
}

// losses answers the first batch and then trains.
func (w *worker) losses(steps int) (reply, error) {
	c, err := classify(w.q.Spec, w.learner.Weights())
	if err != nil {
		return reply{}, err
	}
	var r reply
	if r.Logits, err = c.Logits(w.inputs[0]); err != nil {
		return r, err
	}
	for range steps {
		loss, err := w.step()
		if err != nil {
			return r, err
		}
		r.Losses = append(r.Losses, loss)
	}
	return r, nil
}

func readNumbers[T any](file string, decode func(uint32) T) ([]T, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	out, in := make([]T, info.Size()/4), bufio.NewReader(f)
	var b [4]byte
	for i := range out {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return nil, err
		}
		out[i] = decode(binary.LittleEndian.Uint32(b[:]))
	}
	return out, nil
}

// peak is what all threads together multiply and add in registers, the best of
// ten tries: GFLOP/s, and GFLOP for each second of processor time.
func peak() reply {
	const flops = 1 << 31
	var best reply
	for range 10 {
		var wg sync.WaitGroup
		began, cpu, done := time.Now(), processorSeconds(), make([]int, kernel.Threads())
		for i := range done {
			wg.Go(func() { done[i] = kernel.Peak(flops) })
		}
		wg.Wait()
		work := float64(len(done)*done[0]) / 1e9
		best.GFLOPS = max(best.GFLOPS, work/time.Since(began).Seconds())
		best.CPU = max(best.CPU, work/(processorSeconds()-cpu))
	}
	return best
}

// peakMemory is the largest resident memory so far in bytes; 0 where /proc does
// not say.
func peakMemory() int {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb << 10
		}
	}
	return 0
}

func processorSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

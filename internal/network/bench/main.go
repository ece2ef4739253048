//go:build bench

// Command bench measures training and inference beside PyTorch, on the same
// networks, weights and batches, in one interleaved run:
//
//	go run -tags bench ./internal/network/bench [-quick] [-write docs/benchmarks.md]
//
// Each side works in processes of its own, told over a pipe what to run while
// the others sleep; the sides take turns within each round, so that a machine
// that slows down slows down both. Before anything is timed, both train from
// the same weights on the same batches and must arrive at the same losses and
// logits: otherwise the run ends, as the figures would compare two things.
//
// Timed is the network alone: batches are float32 and normalised beforehand, on
// both sides. Training is forward, backward and SGD with momentum and weight
// decay (zero_grad with set_to_none); inference ends at the logits (eval,
// inference_mode). PyTorch is measured with every matrix library found, with
// GOMP_SPINCOUNT=0 and without, in both memory formats; the fastest is quoted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
)

// settings is what the command line asks for.
type settings struct {
	rounds  int
	seconds float64 // of one measurement
	models  []string
	modes   []string
	batches []int
	threads []int
	python  string
	blas    string // folder for matrix libraries that had to be fetched
	write   string // file that gets the report, between its markers; empty is none
	memory  bool
	cpu     bool // divide by processor time
}

func main() {
	worker := flag.Bool("worker", false, "be the side that computes in Go (the program starts itself so)")
	quick := flag.Bool("quick", false, "three short rounds of batch 1 and 64 on all cores")
	rounds := flag.Int("rounds", 5, "measurements of each case and side")
	seconds := flag.Float64("seconds", 0.7, "length of one measurement")
	models := flag.String("models", "mlp,cnn,mobilenet", "networks")
	modes := flag.String("modes", "train,infer", "train, infer")
	batches := flag.String("batches", "1,8,64,128,256", "samples a step")
	threads := flag.String("threads", "1,2", "threads of both sides")
	python := flag.String("python", "/usr/bin/python3", "an interpreter with torch and numpy")
	blas := flag.String("blas", ".cache/bench", "where OpenBLAS is unpacked when the system has none")
	write := flag.String("write", "", "file whose trainer section is written anew")
	memory := flag.Bool("memory", true, "measure peak memory of training too")
	cpu := flag.Bool("cpu", false, "divide by processor time, not by the time that passed: rough figures of one thread on a busy machine")
	flag.Parse()
	if *worker {
		serve(os.Stdin, os.Stdout)
		return
	}
	s := settings{*rounds, *seconds, strings.Split(*models, ","), strings.Split(*modes, ","), numbers(*batches), numbers(*threads), *python, *blas, *write, *memory, *cpu}
	if *quick {
		s.rounds, s.seconds, s.batches, s.threads = 3, 0.4, []int{1, 64}, []int{2}
	}
	if s.cpu && s.write != "" {
		fmt.Fprintln(os.Stderr, "bench: -cpu is for a look, not for the document: want no -write beside it")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := compare(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func numbers(list string) []int {
	var out []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "bench: %q: want whole numbers over 0, separated by commas\n", list)
			os.Exit(2)
		}
		out = append(out, n)
	}
	return out
}

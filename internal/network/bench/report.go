//go:build bench

package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	header = "| network | threads | batch | Go, samples/s | PyTorch, samples/s | Go / PyTorch: median (min to max) | Go, GFLOP/s (of peak) | PyTorch, GFLOP/s (of peak) | PyTorch at its best with |\n" +
		"|---|---|---|---|---|---|---|---|---|"
	begins = "<!-- bench-trainer begins: written by make bench-trainer -->"
	ends   = "<!-- bench-trainer ends -->"
)

// ratios are Go / PyTorch in each round.
func (r result) ratios() []float64 {
	out := make([]float64, len(r.golang))
	for i, v := range r.golang {
		out[i] = v / r.torch[i]
	}
	return out
}

func (r *report) row(x result) string {
	q := x.ratios()
	share := func(speed float64) string {
		gflops, peak := speed*x.flops(x.mode)/1e9, r.peaks[x.threads]
		if peak == 0 {
			return fmt.Sprintf("%.1f", gflops)
		}
		return fmt.Sprintf("%.1f (%.0f%%)", gflops, 100*gflops/peak)
	}
	a, b := median(x.golang), median(x.torch)
	return fmt.Sprintf("| %s %s | %d | %d | %s | %s | **%.2f** (%.2f to %.2f) | %s | %s | %v |",
		x.name, x.mode, x.threads, x.batch, digits(a), digits(b), median(q), slices.Min(q), slices.Max(q), share(a), share(b), x.quoted)
}

// digits writes a number with three that count.
func digits(v float64) string {
	unit := math.Pow(10, max(0, math.Floor(math.Log10(v))-2))
	return fmt.Sprintf("%.0f", math.Round(v/unit)*unit)
}

func (a agreement) String() string {
	s := fmt.Sprintf("%s, the same weights and batches on both sides: logits differ by %.1e (relative); in %d steps the loss goes from %.4f to %.4f and differs by at most %.1e", a.name, a.logits, a.steps, a.first, a.last, a.losses)
	if a.among > 0 {
		s += fmt.Sprintf(" (PyTorch from itself, by library and memory format: %.1e)", a.among)
	}
	return s
}

func (f footprint) String() string {
	mib := func(n int) float64 { return float64(n) / (1 << 20) }
	return fmt.Sprintf("%s, training at batch 128: Go %.0f MiB at its peak (%.0f of them for the training), PyTorch %.0f MiB (%.0f)",
		f.name, mib(f.golang), mib(f.golangOver), mib(f.torch), mib(f.torchOver))
}

// goal is a median that a row must reach.
type goal struct {
	network, mode string
	batches       []int
	want          float64
}

var goals = []goal{
	{"MLP", train, []int{64, 128}, 1}, {"MLP", infer, []int{64, 128}, 1},
	{"CNN", train, []int{64, 128}, 2}, {"CNN", infer, []int{64, 128}, 2.5},
	{"MobileNet", train, []int{64, 128}, 1}, {"MobileNet", infer, []int{64, 128}, 1.5},
	{"MLP", infer, []int{1}, 3}, {"CNN", infer, []int{1}, 3}, {"MobileNet", infer, []int{1}, 3},
}

// summary says for each goal how the worst row that it is about stands, for
// each number of threads.
func (r *report) summary(out io.Writer) {
	fmt.Fprint(out, "\n| median of Go / PyTorch, the worst of these batches | batch | wanted |")
	for _, n := range r.threads {
		fmt.Fprintf(out, " %d thread(s) |", n)
	}
	fmt.Fprintf(out, "\n|---|---|---|%s\n", strings.Repeat("---|", len(r.threads)))
	for _, g := range goals {
		cells, some := "", false
		for _, n := range r.threads {
			worst := math.Inf(1)
			for _, x := range r.results {
				if x.name == g.network && x.mode == g.mode && x.threads == n && slices.Contains(g.batches, x.batch) {
					worst, some = min(worst, median(x.ratios())), true
				}
			}
			cell := fmt.Sprintf("%.2f", worst)
			if worst < g.want {
				cell = "**" + cell + "**, short"
			}
			cells += " " + cell + " |"
		}
		if some {
			batches := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(g.batches)), ", "), "[]")
			fmt.Fprintf(out, "| %s %s | %s | %g |%s\n", g.network, g.mode, batches, g.want, cells)
		}
	}
}

// markdown is the section of the document.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s; %s. ", time.Now().UTC().Format(time.DateOnly), processor(), strings.Join(r.versions, "; "))
	fmt.Fprintf(&b, "%d rounds of %g s a side and case, the sides taking turns. ", r.rounds, r.seconds)
	b.WriteString("The peak, measured with multiply-adds in registers alone:")
	for _, n := range r.threads {
		fmt.Fprintf(&b, " %.0f GFLOP/s on %d thread(s).", r.peaks[n], n)
	}
	b.WriteString(" ")
	b.WriteString("Batches are float32 and normalised beforehand on both sides; training is forward, backward and SGD with momentum and weight decay. FLOPs are those of convolutions, as they are defined, and of dense layers; an algorithm that needs fewer multiplications (Winograd's, on either side) can therefore pass the peak.\n")
	r.summary(&b)
	b.WriteString("\n")
	for _, a := range r.agreements {
		fmt.Fprintf(&b, "- %v\n", a)
	}
	for _, f := range r.footprints {
		fmt.Fprintf(&b, "- %v\n", f)
	}
	fmt.Fprintf(&b, "\n%s\n", header)
	for _, x := range r.results {
		fmt.Fprintln(&b, r.row(x))
	}
	return b.String()
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "a processor that does not say its name"
	}
	_, rest, _ := strings.Cut(string(b), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Trim(line, "\t: ")
}

// document puts the section between its markers in a file.
func (r *report) document(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), begins)
	_, after, closed := strings.Cut(rest, ends)
	if !ok || !closed {
		return fmt.Errorf("%s: want a line %q and a line %q", file, begins, ends)
	}
	return os.WriteFile(file, []byte(before+begins+"\n"+r.markdown()+ends+after), 0o644)
}

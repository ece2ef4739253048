package metrics

import (
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"
)

// wire keeps packets.
type wire struct {
	packets []string
	err     error
}

func (w *wire) Send(b []byte) (int, error) {
	w.packets = append(w.packets, string(b))
	return len(b), w.err
}
func (w *wire) Close() error { return nil }

// Whatever is sent, a packet is not longer than allowed, holds whole lines, and
// the two lines of a gauge below zero stay together; a line that fits in no
// packet is dropped, counted and logged once.
func TestPacketsAreNeverLongerThanAllowed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		o := StatsDOptions{Tags: []string{InfluxDBTags, DogStatsDTags}[rng.IntN(2)], PacketBytes: 256 + rng.IntN(400), Registerer: prometheus.NewRegistry()}
		var log strings.Builder
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s, w := newSink(o.withDefaults()), &wire{}
		must(t, s.open(w))
		reg := prometheus.NewRegistry()
		g := promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{Name: "driftgate_x"}, []string{"class"})
		want, dropped := 0, 0
		for i := range 1 + rng.IntN(60) {
			class := strconv.Itoa(i) + strings.Repeat("x", rng.IntN(300))
			v := rng.NormFloat64()
			g.WithLabelValues(class).Set(v)
			size := len("driftgate.x,class=:|g") + len(class) + len(strconv.FormatFloat(math.Abs(v), 'f', -1, 64))
			if o.Tags == DogStatsDTags {
				size++
			}
			lines := 1
			if v < 0 {
				size, lines = 2*size+1-len(strconv.FormatFloat(-v, 'f', -1, 64))+len("0")+len("-"), 2
			}
			if size > o.PacketBytes {
				dropped++
			} else {
				want += lines
			}
		}
		s.round(reg)
		got := 0
		for _, p := range w.packets {
			if len(p) > o.PacketBytes || p == "" {
				t.Fatalf("a packet of %d bytes, want 1 to %d", len(p), o.PacketBytes)
			}
			lines := strings.Split(p, "\n")
			got += len(lines)
			for i, line := range lines {
				if !strings.HasPrefix(line, "driftgate.x") || !strings.Contains(line, "|g") {
					t.Fatalf("line %q", line)
				}
				name, value, _ := strings.Cut(line, ":")
				if strings.HasPrefix(value, "-") && (i == 0 || !strings.HasPrefix(lines[i-1], name+":0|g")) {
					t.Fatalf("%q has no line to 0 before it in its packet:\n%s", line, p)
				}
			}
		}
		if got != want {
			t.Fatalf("%d lines, want %d", got, want)
		}
		if n := counted(t, s.counts.tooLong); n != float64(dropped) {
			t.Fatalf("counted %g dropped, want %d", n, dropped)
		}
		s.round(reg)
		if n := strings.Count(log.String(), "longer than a packet"); n != min(1, dropped) {
			t.Fatalf("%d lines are too long, two rounds: logged %d times", dropped, n)
		}
	}
}

func TestPacketsThatTheSystemRefusesAreCounted(t *testing.T) {
	s, w := newSink(StatsDOptions{}.withDefaults()), &wire{err: errors.New("no route to host")}
	must(t, s.open(w))
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "driftgate_up"}).Set(1)
	s.round(reg)
	s.round(reg)
	if n := counted(t, s.counts.failed); n != 2 {
		t.Errorf("counted %g failed packets, want 2", n)
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	must(t, c.Write(&m))
	return m.GetCounter().GetValue()
}

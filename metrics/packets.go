package metrics

import (
	"log/slog"
	"time"

	"github.com/cactus/go-statsd-client/v5/statsd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// packets fills UDP packets with whole lines, none longer than limit bytes. It
// is the statsd.Sender under the client, which hands it one line at a time.
//
// The client's own buffer is not used: it sends a line that is longer than a
// packet all the same, in fragments that a router may drop, and it may part
// lines that belong together.
type packets struct {
	to     statsd.Sender
	limit  int
	log    *slog.Logger
	counts *sinkCounts

	buf     []byte
	pair    []byte // lines that must arrive together, while paired
	paired  bool
	burst   int // packets since the last pause
	tooLong int // lines of this round
	was     int // the same, one round before
}

// sinkCounts are the sink's own series. They stand still while all is well, so
// that they too are the same on both ways out.
type sinkCounts struct {
	tooLong prometheus.Counter
	failed  prometheus.Counter
}

func newSinkCounts(reg prometheus.Registerer) *sinkCounts {
	auto := promauto.With(reg)
	return &sinkCounts{
		tooLong: auto.NewCounter(prometheus.CounterOpts{Name: namespace + "statsd_dropped_lines_total",
			Help: "StatsD lines that were not sent, since one alone is longer than a packet may be."}),
		failed: auto.NewCounter(prometheus.CounterOpts{Name: namespace + "statsd_failed_packets_total",
			Help: "StatsD packets that the system refused to send."}),
	}
}

// A burst of packets may not be larger than what a receiver's socket holds by
// default (about 200 KB with the system's own bookkeeping, some 90 packets), or
// its end is lost without a word. At two packets a millisecond a receiver may
// stand still for 40 ms, as one does on a busy machine, and loses nothing; 5,000
// series take a tenth of a second.
const (
	burstPackets = 8
	burstPause   = 4 * time.Millisecond
)

// Send takes one line. Its error is always nil: what happens to a packet is
// known later, and counted.
func (p *packets) Send(line []byte) (int, error) {
	if !p.paired {
		p.place(line)
		return len(line), nil
	}
	if len(p.pair) > 0 {
		p.pair = append(p.pair, '\n')
	}
	p.pair = append(p.pair, line...)
	return len(line), nil
}

// together keeps the lines that send hands over in one packet, so that they
// arrive both or neither, and in order.
func (p *packets) together(send func()) {
	p.paired, p.pair = true, p.pair[:0]
	send()
	p.paired = false
	p.place(p.pair)
}

// place puts whole lines into the packet, or into the next one.
func (p *packets) place(lines []byte) {
	if len(lines) > p.limit {
		p.counts.tooLong.Inc()
		if p.tooLong++; p.was == 0 && p.tooLong == 1 { // once, not every round again
			p.log.Warn("statsd: a line is longer than a packet and is not sent: raise packet_bytes", "bytes", len(lines), "packet_bytes", p.limit,
				"begins", string(lines[:min(len(lines), 100)]))
		}
		return
	}
	if len(p.buf) > 0 && len(p.buf)+1+len(lines) > p.limit {
		p.flush()
	}
	if len(p.buf) > 0 {
		p.buf = append(p.buf, '\n')
	}
	p.buf = append(p.buf, lines...)
}

// flush sends the packet. A server that is away costs what was in it.
func (p *packets) flush() {
	if len(p.buf) == 0 {
		return
	}
	if _, err := p.to.Send(p.buf); err != nil {
		p.counts.failed.Inc()
		p.log.Debug("statsd: packet not sent", "err", err)
	}
	p.buf = p.buf[:0]
	if p.burst++; p.burst == burstPackets {
		p.burst = 0
		time.Sleep(burstPause)
	}
}

// endRound sends what is left of a round.
func (p *packets) endRound() {
	p.flush()
	p.was, p.tooLong = p.tooLong, 0
}

// Close implements statsd.Sender.
func (p *packets) Close() error {
	p.flush()
	return p.to.Close()
}

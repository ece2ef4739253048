package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/cactus/go-statsd-client/v5/statsd"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	dg "driftgate"
)

// StatsDOptions configure the StatsD sink. Fields left zero take the default
// given beside them.
type StatsDOptions struct {
	Address     string        // host:port, UDP; required
	Prefix      string        // before every name; "driftgate"
	Tags        string        // "influxdb" or "dogstatsd"; "influxdb"
	Every       time.Duration // between rounds; 10s
	PacketBytes int           // a packet holds at most so many, whole lines; 1432
	Logger      *slog.Logger
	Registerer  prometheus.Registerer // for the sink's own two counters; nil: they are not exported
}

// The styles of StatsDOptions.Tags.
const (
	InfluxDBTags  = "influxdb"  // name,key=value:1|g
	DogStatsDTags = "dogstatsd" // name:1|g|#key:value
)

func (o StatsDOptions) withDefaults() StatsDOptions {
	setDefault(&o.Prefix, "driftgate")
	setDefault(&o.Tags, InfluxDBTags)
	setDefault(&o.Every, 10*time.Second)
	setDefault(&o.PacketBytes, 1432)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Validate reports every fault at once; the error is [driftgate.ErrInvalid].
func (o StatsDOptions) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format+": %w", append(args, dg.ErrInvalid)...))
	}
	if o.Address == "" {
		bad("statsd address: want host:port")
	}
	if statsd.CheckName(o.Prefix) != nil {
		bad("statsd prefix %q: want letters, digits, - _ and .", o.Prefix)
	}
	if o.Tags != InfluxDBTags && o.Tags != DogStatsDTags {
		bad("statsd tags %q: want %s or %s", o.Tags, InfluxDBTags, DogStatsDTags)
	}
	if o.Every <= 0 {
		bad("statsd interval %s: want over 0s", o.Every)
	}
	if o.PacketBytes < 256 || o.PacketBytes > 65000 {
		bad("statsd packet_bytes %d: want 256 to 65000", o.PacketBytes)
	}
	return errors.Join(errs...)
}

// RunStatsD sends driftgate's series from g to a StatsD server until ctx ends,
// and then once more. Each driftgate_NAME goes out as PREFIX.NAME with its
// labels as tags:
//
//   - a gauge as a float gauge; one below zero as two lines, to 0 and then by
//     its value, since a sign means "by", not "to": both in one packet;
//   - a counter as its growth since the round before. One that this process
//     began (it has a created timestamp) grows from 0. Those that are kept over
//     restarts, as the ledger's totals are, grow from where they stood when the
//     first of them was seen, so that a restart counts nothing twice;
//   - a histogram as the counters NAME_bucket (with le), NAME_sum and
//     NAME_count; a summary as NAME_sum and NAME_count. Native buckets have no
//     form in StatsD.
//
// A gauge that has no figure any more is not sent; the exporter's own ttl lets
// it go. A counter that stands still is sent as growth of 0 once a minute, so
// that an exporter which was restarted has it again. Figures that are not finite
// are left out. In tag values the characters that the line format needs for
// itself become "_". A line that alone is longer than a packet is not sent, but
// counted and logged.
//
// A server that is away, or whose name does not resolve, costs what is sent
// meanwhile and nothing else; only a wrong option is an error.
func RunStatsD(ctx context.Context, g prometheus.Gatherer, o StatsDOptions) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("metrics: statsd: %w", err)
	}
	o = o.withDefaults()
	s := newSink(o)
	s.round(g)
	ticks := time.NewTicker(o.Every)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			s.round(g)
		case <-ctx.Done():
			s.round(g)
			if s.packets != nil {
				if err := s.packets.Close(); err != nil {
					return fmt.Errorf("metrics: statsd: close: %w", err)
				}
			}
			return nil
		}
	}
}

// sink turns metric families into StatsD lines.
type sink struct {
	o       StatsDOptions
	counts  *sinkCounts
	out     statsd.ExtendedStatSender // the plain StatSender has no float gauge: a ratio would become 0
	packets *packets                  // below out
	sent    map[string]float64        // counters, by name and tags: what they stood at
	kept    bool                      // counters that are kept over restarts were seen in an earlier round
	rounds  int
}

func newSink(o StatsDOptions) *sink {
	return &sink{o: o, counts: newSinkCounts(o.Registerer), sent: map[string]float64{}}
}

// still is how often a counter that stands still is sent.
const still = time.Minute

// round gathers and sends once. While the address cannot be resolved nothing
// goes out, and nothing counts as sent.
func (s *sink) round(g prometheus.Gatherer) {
	families, err := g.Gather() // what could be gathered comes along with the error
	if err != nil {
		s.o.Logger.Warn("gather for statsd", "err", err)
	}
	if s.out == nil {
		if err := s.dial(); err != nil {
			s.o.Logger.Warn("statsd", "err", err)
			return
		}
	}
	s.send(families)
	s.packets.endRound()
	s.rounds++
}

func (s *sink) dial() error {
	to, err := statsd.NewResolvingSimpleSender(s.o.Address, time.Minute)
	if err != nil {
		return fmt.Errorf("sender to %s: %w", s.o.Address, err)
	}
	if err := s.open(to); err != nil {
		return errors.Join(err, to.Close())
	}
	return nil
}

// open sends to the given sender from now on.
func (s *sink) open(to statsd.Sender) error {
	format := statsd.InfixComma
	if s.o.Tags == DogStatsDTags {
		format = statsd.SuffixOctothorpe
	}
	p := &packets{to: to, limit: s.o.PacketBytes, log: s.o.Logger, counts: s.counts}
	client, err := statsd.NewClientWithSender(p, s.o.Prefix, format)
	if err != nil {
		return fmt.Errorf("client for %s: %w", s.o.Address, err)
	}
	out, ok := client.(statsd.ExtendedStatSender)
	if !ok {
		return fmt.Errorf("the client %T has no float gauge", client)
	}
	s.out, s.packets = out, p
	return nil
}

// send puts one round on its way. Errors of the socket are counted, not
// reported: a server that is away is no fault of ours, and the next round comes.
func (s *sink) send(families []*dto.MetricFamily) {
	kept := s.kept
	// fresh says whether a counter's whole value is growth when it is seen for
	// the first time; ours, that this process began it.
	fresh := func(ours bool) bool {
		kept = kept || !ours
		return s.kept || ours
	}
	for _, f := range families {
		name, ok := strings.CutPrefix(f.GetName(), namespace)
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			tags := lineTags(m.GetLabel())
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				s.counter(name, m.GetCounter().GetValue(), fresh(m.GetCounter().GetCreatedTimestamp() != nil), tags)
			case dto.MetricType_GAUGE:
				s.gauge(name, m.GetGauge().GetValue(), tags)
			case dto.MetricType_UNTYPED:
				s.gauge(name, m.GetUntyped().GetValue(), tags)
			case dto.MetricType_HISTOGRAM:
				s.histogram(name, m.GetHistogram(), fresh(m.GetHistogram().GetCreatedTimestamp() != nil), tags)
			case dto.MetricType_SUMMARY:
				whole := fresh(m.GetSummary().GetCreatedTimestamp() != nil)
				s.counter(name+"_sum", m.GetSummary().GetSampleSum(), whole, tags)
				s.counter(name+"_count", float64(m.GetSummary().GetSampleCount()), whole, tags)
			}
		}
	}
	s.kept = kept
}

// reserved are the characters that the line format needs for itself.
var reserved = strings.NewReplacer(",", "_", "=", "_", ":", "_", "|", "_", "#", "_", "\n", "_", "\r", "_")

func lineTags(labels []*dto.LabelPair) []statsd.Tag {
	var tags []statsd.Tag
	for _, l := range labels {
		if l.GetValue() != "" { // to Prometheus an empty label is none; to the line format it is a fault
			tags = append(tags, statsd.Tag{l.GetName(), reserved.Replace(l.GetValue())})
		}
	}
	sort.Slice(tags, func(i, j int) bool { return tags[i][0] < tags[j][0] })
	return tags
}

// The client's own errors are those of a line that cannot be formed, which no
// value of these types gives.
func (s *sink) gauge(name string, v float64, tags []statsd.Tag) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
	case v < 0:
		s.packets.together(func() {
			_ = s.out.GaugeFloat(name, 0, 1, tags...)
			_ = s.out.GaugeFloatDelta(name, v, 1, tags...)
		})
	default:
		_ = s.out.GaugeFloat(name, math.Abs(v), 1, tags...) // -0 has a sign too
	}
}

// counter sends the growth of a counter; fresh says that it began at 0 when it
// is seen for the first time.
func (s *sink) counter(name string, v float64, fresh bool, tags []statsd.Tag) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	key := name
	for _, t := range tags {
		key += "\x00" + t[0] + "\x00" + t[1]
	}
	before, known := s.sent[key]
	s.sent[key] = v
	growth := v - before
	switch {
	case !known && !fresh:
		growth = 0 // counted by a process before this one; the line makes the series
	case growth < 0:
		growth = max(0, v) // it began anew
	case known && growth == 0 && s.rounds%max(1, int(still/s.o.Every)) != 0:
		return
	}
	_ = s.out.Raw(name, strconv.FormatFloat(growth, 'f', -1, 64)+"|c", 1, tags...) // Inc takes whole numbers only
}

func (s *sink) histogram(name string, h *dto.Histogram, fresh bool, tags []statsd.Tag) {
	total := h.GetSampleCount()
	bucket := func(le string, n uint64) {
		s.counter(name+"_bucket", float64(n), fresh, append(tags[:len(tags):len(tags)], statsd.Tag{"le", le}))
	}
	if len(h.GetBucket()) > 0 {
		for _, b := range h.GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				bucket(boundary(b.GetUpperBound()), b.GetCumulativeCount())
			}
		}
		bucket("+Inf", total)
	}
	s.counter(name+"_sum", h.GetSampleSum(), fresh, tags)
	s.counter(name+"_count", float64(total), fresh, tags)
}

// boundary writes a bucket's upper bound as OpenMetrics does, 60.0 for 60:
// Prometheus has it so from a scrape, and takes StatsD's as it comes.
func boundary(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, "e.") {
		s += ".0"
	}
	return s
}

// Package config gathers every setting of driftgate in one strict file.
//
// Precedence is flag, environment, file, default. Unknown keys and bad values
// are reported all at once, each with where it came from (file and line, or
// the variable's name) and what would be right; nothing starts on a
// configuration with a mistake.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"driftgate"
)

// Config is the whole configuration. Every leaf is a key of the file (its path
// joined by dots), an environment variable (DRIFTGATE_ and the path in upper
// case, dots as underscores), and where the command line has one, a flag.
// Ratios run 0 to 1.
type Config struct {
	Dir     string `key:"dir" doc:"folder that holds all embedded state: objects, ledger, spool, credentials"`
	Model   string `key:"model" doc:"name of the model in metrics, triggers and the champion record"`
	Classes string `key:"classes" doc:"class list while no model serves: food-11, fashion-mnist, or labels separated by commas"`

	Shutdown time.Duration `key:"shutdown" doc:"how long requests, the spool and runs under way have to end, all together; what is left on the spool waits for the next start"`

	HTTP HTTP `key:"http"`
	Log  Log  `key:"log"`
	OTel OTel `key:"otel"`
	S3   S3   `key:"s3"`

	Serving   Serving   `key:"serving"`
	Curate    Curate    `key:"curate"`
	Collect   Collect   `key:"collect"`
	Reconcile Reconcile `key:"reconcile"`
	Ledger    Ledger    `key:"ledger"`
	Metrics   Metrics   `key:"metrics"`
	Drift     Drift     `key:"drift"`
	StatsD    StatsD    `key:"statsd"`
	Alarm     Alarm     `key:"alarm"`
	Trigger   Trigger   `key:"trigger"`
	Train     Train     `key:"train"`
	Gate      Gate      `key:"gate"`
	Models    Models    `key:"models"`
	Rollout   Rollout   `key:"rollout"`
}

// HTTP is how the gateway listens and who may do what.
type HTTP struct {
	Listen       string  `key:"listen" doc:"address and port"`
	OpenMetrics  bool    `key:"open_metrics" doc:"serve /metrics without the token"`
	OpenTriggers bool    `key:"open_triggers" doc:"serve the old trigger routes /pipeline/start and /trigger-training without the token"`
	Token        string  `key:"token" secret:"yes" doc:"the token; when empty one is made on first start and kept in DIR/token"`
	RatePerIP    float64 `key:"rate_per_ip" doc:"predictions, flags and corrections a second from one address, with bursts of four times as many; 0 is no limit"`

	AlertsToken    string   `key:"alerts_token" secret:"yes" doc:"opens POST /api/v1/alerts and nothing else, as bearer token or basic password, so that Alertmanager need not hold the token; empty is none"`
	WebConfig      string   `key:"web_config" doc:"file in the format of Prometheus exporters with TLS certificates and users for basic authentication, who may ask for what needs no token; health checks need neither; its contents are read again on a reload; empty serves plain HTTP"`
	SecureCookies  bool     `key:"secure_cookies" doc:"a proxy in front speaks TLS: browsers get the session cookie for https only"`
	TrustedProxies []string `key:"trusted_proxies" doc:"addresses or networks whose X-Forwarded-For is believed, such as 10.0.0.0/8; they may also open any number of connections"`

	MaxInFlight         int           `key:"max_in_flight" doc:"predictions at once; more wait up to 5s, then are refused with 503"`
	MaxConnections      int           `key:"max_connections" doc:"connections at once; more are closed unheard"`
	MaxConnectionsPerIP int           `key:"max_connections_per_ip" doc:"connections at once from one address"`
	HeaderTimeout       time.Duration `key:"header_timeout" doc:"how long a client may take to send the head of a request"`
	ReadTimeout         time.Duration `key:"read_timeout" doc:"how long a client may take to send a whole request"`
	StallTimeout        time.Duration `key:"stall_timeout" doc:"how long a client may leave an answer unread before its connection is cut"`
}

// Log is the service's own log on standard error.
type Log struct {
	Level  string `key:"level" doc:"debug, info, warn or error"`
	Format string `key:"format" doc:"text or json"`
}

// S3 is the object store. Without an endpoint the embedded one is started.
type S3 struct {
	Endpoint       string `key:"endpoint" doc:"URL of an S3 server; empty starts the embedded one"`
	AccessKey      string `key:"access_key" doc:"access key id"`
	SecretKey      string `key:"secret_key" secret:"yes" doc:"secret access key"`
	Region         string `key:"region" doc:"region"`
	PublicEndpoint string `key:"public_endpoint" doc:"URL under which browsers reach the S3 server, for presigned links"`
	BucketPrefix   string `key:"bucket_prefix" doc:"put before each bucket's name"`
}

// Serving bounds what uploads may cost.
type Serving struct {
	MaxImageBytes int64         `key:"max_image_bytes" doc:"largest upload, bytes"`
	MaxPixels     int           `key:"max_pixels" doc:"largest image, pixels, checked before decoding"`
	SpoolItems    int           `key:"spool_items" doc:"predictions that may wait for S3; beyond that /predict answers 503"`
	SpoolBytes    int64         `key:"spool_bytes" doc:"bytes that may wait for S3"`
	Follow        time.Duration `key:"follow" doc:"how often the champion record is looked at"`
}

// Curate picks samples for labelling.
type Curate struct {
	Every     time.Duration `key:"every" doc:"length of a curate interval"`
	Threshold float64       `key:"threshold" doc:"confidence below which a sample counts as low"`
	Random    int           `key:"random" doc:"random picks an interval among the others, at least 1: without them the estimate has nothing to stand on"`
	MaxLow    int           `key:"max_low" doc:"most low-confidence picks an interval, drawn at random; 0 is all"`
	Paused    bool          `key:"paused" doc:"do not curate by schedule"`
}

// Collect brings labels home.
type Collect struct {
	Every time.Duration `key:"every" doc:"how often answered tasks are collected"`
	Undo  time.Duration `key:"undo" doc:"how long an answer may be taken back before it is collected"`

	Annotators int `key:"annotators" doc:"how many people are asked about each image, 1 to 9; the majority is the label, and disagreement lowers its weight"`
}

// Reconcile reads the buckets for what other programs wrote.
type Reconcile struct {
	Every     time.Duration `key:"every" doc:"how often; 0 is never"`
	TagsEvery time.Duration `key:"tags_every" doc:"how often the tags of known objects are read again, for what other hands edit"`
}

// Metrics is the windowed production accuracy.
type Metrics struct {
	Windows   []time.Duration `key:"windows" doc:"window lengths, shortest first"`
	Stride    time.Duration   `key:"stride" doc:"windows end on multiples of this"`
	MinLabels int             `key:"min_labels" doc:"below this many labels a window exports no ratio"`
	Refresh   time.Duration   `key:"refresh" doc:"how often the snapshot is made"`

	RecordEvery time.Duration `key:"record_every" doc:"how often the figures are kept as published, for accuracy --replay"`
	Keep        time.Duration `key:"keep" doc:"how long they are kept"`
}

// Ledger is the SQL index of what the buckets hold.
type Ledger struct {
	DSN string `key:"dsn" secret:"yes" doc:"PostgreSQL URL, postgres://user:password@host:5432/database; empty keeps SQLite in DIR/ledger.db"`
}

// Drift is the comparison of inputs with those of the champion's first days,
// which needs no labels.
type Drift struct {
	Window               time.Duration `key:"window" doc:"span of the predictions that are compared"`
	Every                time.Duration `key:"every" doc:"how often they are compared"`
	MinPredictions       int           `key:"min_predictions" doc:"below this many predictions there is no score"`
	ReferencePredictions int           `key:"reference_predictions" doc:"the champion's first predictions, which the others are compared with"`
	Years                float64       `key:"years" doc:"mean time until a score passes its threshold without drift, years: at least this"`
}

// StatsD is the second way out, read from the same snapshot.
type StatsD struct {
	Address string        `key:"address" doc:"host:port, UDP; empty sends nothing"`
	Prefix  string        `key:"prefix" doc:"put before each name"`
	Style   string        `key:"style" doc:"how tags are written: influxdb or dogstatsd"`
	Every   time.Duration `key:"every" doc:"how often"`
}

// Alarm is the drift alarm on the accuracy (docs/statistics.md).
type Alarm struct {
	Years           float64       `key:"years" doc:"mean time to a false alarm, years: at least this"`
	Tolerance       float64       `key:"tolerance" doc:"error above the reference that is still acceptable"`
	ReferenceLabels int           `key:"reference_labels" doc:"labels after a promotion that fix the champion's reference"`
	Slot            time.Duration `key:"slot" doc:"event time that is judged at once"`
	LabelGrace      time.Duration `key:"label_grace" doc:"how long a slot waits for its labels before it is closed"`
	Hold            time.Duration `key:"hold" doc:"how long the evidence must last before the alarm fires"`
	ResolveHold     time.Duration `key:"resolve_hold" doc:"how long it must be quiet before a firing alarm resolves by itself"`
}

// Trigger is what may start a retraining, and how often.
type Trigger struct {
	CoolDown     time.Duration `key:"cool_down" doc:"between the end of a run and the next automatic one"`
	BudgetPerDay int           `key:"budget_per_day" doc:"most runs in 24 hours"`
	AlertWindow  time.Duration `key:"alert_window" doc:"span of the figure that Alertmanager's alerts look at: the cause of one is taken to have begun so long before it fired, and a challenger is judged on what came since"`
	Schedule     string        `key:"schedule" doc:"cron expression (five fields, UTC) that retrains by schedule; empty is never"`
}

// Default is the configuration without file, environment or flags.
func Default() Config {
	return Config{
		Dir:   "driftgate-data",
		Model: "classifier",
		HTTP: HTTP{Listen: "127.0.0.1:8080", OpenMetrics: true, RatePerIP: 50, MaxInFlight: 64, MaxConnections: 1024, MaxConnectionsPerIP: 256,
			HeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, StallTimeout: time.Minute},
		Shutdown: 20 * time.Second,
		Log:      Log{Level: "info", Format: "text"},
		OTel:     OTel{Protocol: otlpHTTP, SampleRatio: 1, Service: "driftgate"},
		S3:       S3{Region: "us-east-1"},
		Serving: Serving{MaxImageBytes: 20 << 20, MaxPixels: 50_000_000, SpoolItems: 10_000,
			SpoolBytes: 1 << 30, Follow: 2 * time.Second},
		Curate:    Curate{Every: 30 * time.Minute, Threshold: 0.7, Random: 5},
		Collect:   Collect{Every: time.Minute, Undo: 10 * time.Second, Annotators: 1},
		Reconcile: Reconcile{Every: 10 * time.Minute, TagsEvery: 10 * time.Minute},
		Metrics: Metrics{Windows: []time.Duration{30 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour},
			Stride: time.Minute, MinLabels: 30, Refresh: time.Second, RecordEvery: 30 * time.Minute, Keep: 90 * 24 * time.Hour},
		Drift:  Drift{Window: 24 * time.Hour, Every: time.Hour, MinPredictions: 50, ReferencePredictions: 1000, Years: 1},
		StatsD: StatsD{Prefix: "driftgate", Style: "influxdb", Every: 10 * time.Second},
		Alarm: Alarm{Years: 10, Tolerance: 0.02, ReferenceLabels: 1000, Slot: 6 * time.Hour, LabelGrace: 24 * time.Hour,
			ResolveHold: 24 * time.Hour},
		Trigger: Trigger{CoolDown: 6 * time.Hour, BudgetPerDay: 4, AlertWindow: 24 * time.Hour},
		Train:   defaultTrain(),
		Gate:    Gate{MinPairs: 100, Window: 7 * 24 * time.Hour, Wait: 48 * time.Hour},
		Models:  defaultModels(),
		Rollout: defaultRollout(),
	}
}

// fault is one bad value; check maps the key to where it was set.
type fault struct{ key, text string }

// check returns everything that is wrong with the values.
func (c Config) check() []fault {
	var out []fault
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			out = append(out, fault{key, fmt.Sprintf(format, args...)})
		}
	}
	ratio := func(x float64, key string) { want(x >= 0 && x <= 1, key, "%g: want 0 to 1, not a percentage", x) }
	positive := func(d time.Duration, key string) { want(d > 0, key, "%s: want more than 0s", d) }
	atLeast := func(n, least int, key string) { want(n >= least, key, "%d: want at least %d", n, least) }

	want(c.Dir != "", "dir", "empty: want a folder")
	want(modelName(c.Model), "model", "%q: want 1 to 63 lower-case letters, digits, - or _", c.Model)
	if list := c.ClassList(); list != nil {
		err := list.Validate()
		want(err == nil, "classes", "%q: %v", c.Classes, err)
	}
	_, _, err := net.SplitHostPort(c.HTTP.Listen)
	want(err == nil, "http.listen", "%q: want host:port, such as 127.0.0.1:8080", c.HTTP.Listen)
	want(c.HTTP.Token == "" || len(c.HTTP.Token) >= 16, "http.token", "too short: want at least 16 characters")
	out = append(out, c.HTTP.check()...)
	out = append(out, c.OTel.check()...)
	positive(c.Shutdown, "shutdown")
	want(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level", "%q: want debug, info, warn or error", c.Log.Level)
	want(slices.Contains([]string{"text", "json"}, c.Log.Format), "log.format", "%q: want text or json", c.Log.Format)
	for key, s := range map[string]string{"s3.endpoint": c.S3.Endpoint, "s3.public_endpoint": c.S3.PublicEndpoint} {
		u, err := url.Parse(s)
		want(s == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", key, "%q: want http://host:port or https://host", s)
	}
	want(c.S3.Endpoint == "" || (c.S3.AccessKey != "" && c.S3.SecretKey != ""), "s3.endpoint", "set without s3.access_key and s3.secret_key")
	want(c.Serving.MaxImageBytes > 0, "serving.max_image_bytes", "%d: want more than 0", c.Serving.MaxImageBytes)
	atLeast(c.Serving.MaxPixels, 1, "serving.max_pixels")
	atLeast(c.Serving.SpoolItems, 1, "serving.spool_items")
	want(c.Serving.SpoolBytes >= c.Serving.MaxImageBytes, "serving.spool_bytes", "%d: want at least serving.max_image_bytes (%d)", c.Serving.SpoolBytes, c.Serving.MaxImageBytes)
	positive(c.Serving.Follow, "serving.follow")
	positive(c.Curate.Every, "curate.every")
	ratio(c.Curate.Threshold, "curate.threshold")
	atLeast(c.Curate.Random, 1, "curate.random")
	atLeast(c.Curate.MaxLow, 0, "curate.max_low")
	positive(c.Collect.Every, "collect.every")
	want(c.Collect.Undo >= 0, "collect.undo", "%s: want 0s or more", c.Collect.Undo)
	want(c.Collect.Annotators >= 1 && c.Collect.Annotators <= 9, "collect.annotators", "%d: want 1 to 9", c.Collect.Annotators)
	positive(c.Reconcile.TagsEvery, "reconcile.tags_every")
	want(c.Reconcile.Every >= 0, "reconcile.every", "%s: want 0s or more", c.Reconcile.Every)
	want(len(c.Metrics.Windows) > 0 && len(c.Metrics.Windows) <= 10 && slices.IsSorted(c.Metrics.Windows) && c.Metrics.Windows[0] > 0,
		"metrics.windows", "%v: want 1 to 10 lengths, shortest first", c.Metrics.Windows)
	positive(c.Metrics.Stride, "metrics.stride")
	positive(c.Metrics.RecordEvery, "metrics.record_every")
	positive(c.Metrics.Keep, "metrics.keep")
	want(c.Ledger.DSN == "" || strings.HasPrefix(c.Ledger.DSN, "postgres://") || strings.HasPrefix(c.Ledger.DSN, "postgresql://"),
		"ledger.dsn", "want postgres://user:password@host:5432/database, or empty for SQLite")
	positive(c.Drift.Window, "drift.window")
	positive(c.Drift.Every, "drift.every")
	atLeast(c.Drift.MinPredictions, 1, "drift.min_predictions")
	atLeast(c.Drift.ReferencePredictions, 1, "drift.reference_predictions")
	want(c.Drift.Years > 0, "drift.years", "%g: want more than 0", c.Drift.Years)
	atLeast(c.Metrics.MinLabels, 1, "metrics.min_labels")
	positive(c.Metrics.Refresh, "metrics.refresh")
	want(slices.Contains([]string{"influxdb", "dogstatsd"}, c.StatsD.Style), "statsd.style", "%q: want influxdb or dogstatsd", c.StatsD.Style)
	positive(c.StatsD.Every, "statsd.every")
	want(c.Alarm.Years > 0, "alarm.years", "%g: want more than 0", c.Alarm.Years)
	ratio(c.Alarm.Tolerance, "alarm.tolerance")
	atLeast(c.Alarm.ReferenceLabels, 30, "alarm.reference_labels")
	want(c.Alarm.Slot >= c.Curate.Every && c.Curate.Every > 0 && c.Alarm.Slot%c.Curate.Every == 0, "alarm.slot", "%s: want a multiple of curate.every (%s)", c.Alarm.Slot, c.Curate.Every)
	want(c.Alarm.LabelGrace >= 0, "alarm.label_grace", "%s: want 0s or more", c.Alarm.LabelGrace)
	want(c.Alarm.Hold >= 0, "alarm.hold", "%s: want 0s or more", c.Alarm.Hold)
	want(c.Alarm.ResolveHold >= 0, "alarm.resolve_hold", "%s: want 0s or more", c.Alarm.ResolveHold)
	want(c.Trigger.CoolDown >= 0, "trigger.cool_down", "%s: want 0s or more", c.Trigger.CoolDown)
	positive(c.Trigger.AlertWindow, "trigger.alert_window")
	atLeast(c.Trigger.BudgetPerDay, 1, "trigger.budget_per_day")
	out = append(out, c.Train.check()...)
	atLeast(c.Gate.MinPairs, 30, "gate.min_pairs")
	ratio(c.Gate.Margin, "gate.margin")
	positive(c.Gate.Window, "gate.window")
	want(c.Gate.Wait >= 0, "gate.wait", "%s: want 0s or more", c.Gate.Wait)
	out = append(out, c.Models.check()...)
	out = append(out, c.Rollout.check()...)
	return out
}

// ClassList is the configured class list; nil when none is.
func (c Config) ClassList() driftgate.Classes {
	switch c.Classes {
	case "":
		return nil
	case "food-11":
		return driftgate.Food11
	case "fashion-mnist":
		return driftgate.FashionMNIST
	}
	var list driftgate.Classes
	for label := range strings.SplitSeq(c.Classes, ",") {
		list = append(list, strings.TrimSpace(label))
	}
	return list
}

func modelName(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// Validate returns every bad value, by key; it does not know where values came
// from: [Load] does.
func (c Config) Validate() error {
	var errs []error
	for _, f := range c.check() {
		errs = append(errs, fmt.Errorf("config: %s: %s", f.key, f.text))
	}
	return errors.Join(errs...)
}

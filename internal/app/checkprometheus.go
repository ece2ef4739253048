package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"driftgate"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// What check asks the Prometheus that should look after this gateway.

// asked is a Prometheus and what is to be found there.
type asked struct {
	base    *url.URL
	gateway float64  // CheckReport.ConfigLoadedAt
	windows []string // CheckReport.Windows
	job     string   // under which the gateway was found
}

// newPrometheus reads its address; nil when there is none.
func newPrometheus(address string) (*asked, error) {
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("app: check prometheus %.200q: want http://host:port or https://host:port: %w", address, driftgate.ErrInvalid)
	}
	return &asked{base: u}, nil
}

// maxPrometheusAnswer bounds what is read of one answer, in bytes: rules and
// targets of a large installation.
const maxPrometheusAnswer = 64 << 20

// get asks for path below /api/v1 and reads the data of the answer into out.
func (p *asked) get(ctx context.Context, path string, args url.Values, out any) (http.Header, error) {
	u := p.base.JoinPath("api/v1", path)
	u.RawQuery = args.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err // names the address, without the password
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return resp.Header, fmt.Errorf("%s answers %s: %w", u.Redacted(), resp.Status, driftgate.ErrUnauthorized)
	}
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: out}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPrometheusAnswer)).Decode(&answer); err != nil {
		return resp.Header, fmt.Errorf("%s answers %s, and not as Prometheus does: %w", u.Redacted(), resp.Status, err)
	}
	if answer.Status != "success" {
		return resp.Header, fmt.Errorf("%s answers %s: %s", u.Redacted(), resp.Status, answer.Error)
	}
	return resp.Header, nil
}

// checkAnswers asks for the version, and compares the clocks.
func (p *asked) checkAnswers(ctx context.Context) finding {
	var build struct {
		Version string `json:"version"`
	}
	before := time.Now()
	header, err := p.get(ctx, "status/buildinfo", nil, &build)
	if errors.Is(err, driftgate.ErrUnauthorized) {
		return broken(err, "give the user of its web config: --prometheus http://USER:PASSWORD@HOST:PORT")
	} else if err != nil {
		return broken(err, "is it up, and --prometheus right (scheme, host, port, path prefix)?")
	}
	if f := judgeDate(header, before, "Prometheus'", "rules compare times of ours with its own"); f.status != CheckOK {
		return f
	}
	return pass("%s at %s", build.Version, p.base.Redacted())
}

// series is one row of an instant query.
type series struct {
	labels map[string]string
	value  float64
}

func (p *asked) query(ctx context.Context, expr string) (rows []series, err error) {
	var data struct {
		Result []struct {
			Metric map[string]string  `json:"metric"`
			Value  [2]json.RawMessage `json:"value"`
		} `json:"result"`
	}
	if _, err := p.get(ctx, "query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	for _, r := range data.Result {
		text, err := strconv.Unquote(string(r.Value[1]))
		if err != nil {
			return nil, fmt.Errorf("value %s: want a number in quotes: %w", r.Value[1], err)
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		rows = append(rows, series{r.Metric, v})
	}
	return rows, nil
}

// loadedSeries is one that every gateway exports, by StatsD too, with a value
// that no two have: it tells this gateway whatever Prometheus calls it.
const loadedSeries = "driftgate_config_last_reload_success_timestamp_seconds"

// maxSampleAge is how old the newest sample of a scraped gateway may be: longer
// than any usual scrape interval.
const maxSampleAge = 2 * time.Minute

const addTarget = "add this gateway to scrape_configs, as deploy/prometheus.yml does, and reload Prometheus"

// checkScrape looks for this gateway's series, and how fresh they are.
func (p *asked) checkScrape(ctx context.Context) finding {
	rows, err := p.query(ctx, loadedSeries)
	if err != nil {
		return broken(err, "see Prometheus' log")
	}
	if p.gateway == 0 {
		if len(rows) == 0 {
			return p.notScraped(ctx, 0)
		}
		return warn("run this beside the gateway", "series of %d gateways; which is ours is not known, for none runs on this folder", len(rows))
	}
	oldest := time.Duration(math.MaxInt64)
	var best map[string]string
	for _, r := range rows {
		if math.Abs(r.value-p.gateway) > 1e-3 {
			continue
		}
		ages, err := p.query(ctx, fmt.Sprintf("time() - timestamp(%s{instance=%q,job=%q})", loadedSeries, r.labels["instance"], r.labels["job"]))
		if err != nil {
			return broken(err, "see Prometheus' log")
		}
		for _, a := range ages {
			if age := time.Duration(a.value * float64(time.Second)); age < oldest {
				oldest, best = age, r.labels
			}
		}
	}
	switch {
	case best == nil:
		return p.notScraped(ctx, len(rows))
	case oldest > maxSampleAge:
		return broken(fmt.Errorf("instance %s of job %s: its newest sample is %s old", best["instance"], best["job"], oldest.Round(time.Second)),
			"see Prometheus' page /targets; where StatsD is the way, see the line statsd")
	}
	p.job = best["job"]
	return pass("instance %s of job %s, newest sample %s old", best["instance"], best["job"], max(0, oldest.Round(time.Second)))
}

// notScraped says why Prometheus does not have this gateway's series, as far as
// its targets tell; others are the gateways whose series it has.
func (p *asked) notScraped(ctx context.Context, others int) finding {
	loaded := time.Unix(0, int64(p.gateway*1e9))
	if since := time.Since(loaded); p.gateway > 0 && since < maxSampleAge {
		return warn("ask again in two minutes", "not there yet: the gateway has read its configuration only %s ago", since.Round(time.Second))
	}
	var data struct {
		Active []struct {
			Labels    map[string]string `json:"labels"`
			Health    string            `json:"health"`
			LastError string            `json:"lastError"`
		} `json:"activeTargets"`
	}
	if _, err := p.get(ctx, "targets", url.Values{"state": {"active"}}, &data); err != nil {
		return broken(err, "see Prometheus' log")
	}
	said, fix := fmt.Sprintf("no series of this gateway, of %d others", others), addTarget
	shown := 0
	for _, t := range data.Active {
		if t.Health != "down" {
			continue
		}
		if shown++; shown > 3 {
			break
		}
		said += fmt.Sprintf("\ndown: instance %s of job %s: %s", t.Labels["instance"], t.Labels["job"], t.LastError)
		if strings.Contains(t.LastError, "401") || strings.Contains(t.LastError, "403") {
			fix = "its job's authorization.credentials_file must hold the gateway's token, without a line break; or set http.open_metrics"
		}
	}
	return broken(errors.New(said), fix)
}

// value reads a gauge of this process.
func value(g prometheus.Gauge) (float64, error) {
	var m dto.Metric
	err := g.Write(&m)
	return m.GetGauge().GetValue(), err
}

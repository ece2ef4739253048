package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// operations shows whether the gateway itself does its work: serving, capture,
// pipelines, what comes in.
func operations() *dashboard.DashboardBuilder {
	b := board("operations", "driftgate-operations", "Does the gateway answer, does it keep what it saw, do its pipelines run?")
	answering(b)
	keeping(b)
	pipelines(b)
	process(b)
	return b
}

const (
	requests = `driftgate_predictions_total{` + ofGate + `}`
	failed   = `(sum(rate(http_requests_total{` + ofGate + `,status="5xx"}[$__rate_interval])) or vector(0))`
	answered = `sum(rate(http_requests_total{` + ofGate + `}[$__rate_interval]))`
)

func answering(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("Does it answer?")).
		WithPanel(figure("Gateways up", "Gateways that answer the scrape.", `sum(up * on (instance) group_left () max by (instance) (driftgate_build_info{`+ofGate+`}))`, units.Short, 4).Decimals(0).Thresholds(steps(bad, 1.0, accent)).Links(more("gateway-down"))).
		WithPanel(figure("Predictions a second", "Acknowledged: answered and captured on disk.", `sum(rate(`+requests+`[$__rate_interval]))`, units.RequestsPerSecond, 5).Decimals(1).Links(more("predictions-absent"))).
		WithPanel(figure("Answers that failed", "Share of all HTTP answers with status 5xx.", failed+` / (`+answered+` > 0)`, units.PercentUnit, 5).Decimals(2).Thresholds(steps(accent, 0.01, middle, 0.05, bad))).
		WithPanel(figure("Not yet uploaded", "Captured predictions on the local spool. It empties by itself once the object store answers.", `sum(driftgate_capture_spool_items{`+ofGate+`})`, units.Short, 5).Decimals(0).Links(more("capture-spool-growing"))).
		WithPanel(figure("Pipelines that failed", "Passes that ended in an error, over the time shown.", `sum(increase(driftgate_pipeline_runs_total{`+ofGate+`,state="failed"}[$__range]))`, units.Short, 5).Decimals(0).Thresholds(steps(accent, 1.0, middle)).Links(page("Runs", "/runs"))).
		WithPanel(stacked(graph("Requests a second", "By kind of answer.", units.RequestsPerSecond, 8,
			query("A", `sum by (status) (rate(http_requests_total{`+ofGate+`}[$__rate_interval]))`, "{{status}}")))).
		WithPanel(graph("Time to answer", "Half and 99 in 100 of the HTTP requests took at most so long.", seconds, 8,
			query("A", `histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket{`+ofGate+`}[$__rate_interval])))`, "half"),
			query("B", `histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{`+ofGate+`}[$__rate_interval])))`, "99 in 100")).Min(0)).
		WithPanel(graph("Time to a durable prediction", "From the upload's last byte to the capture on disk.", seconds, 8,
			query("A", `histogram_quantile(0.5, sum by (le) (rate(driftgate_prediction_duration_seconds_bucket{`+ofGate+`}[$__rate_interval])))`, "half"),
			query("B", `histogram_quantile(0.99, sum by (le) (rate(driftgate_prediction_duration_seconds_bucket{`+ofGate+`}[$__rate_interval])))`, "99 in 100")).Min(0))
}

func keeping(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("Does it keep what it saw?")).
		WithPanel(graph("Captured, not yet uploaded", "Predictions on the local spool, by gateway.", units.Short, 8,
			query("A", `max by (instance) (driftgate_capture_spool_items{`+ofGate+`})`, "{{instance}}")).Min(0).Links(more("capture-spool-growing"))).
		WithPanel(graph("Room the spool takes", "Bytes on the local disk, by gateway.", units.BytesIEC, 8,
			query("A", `max by (instance) (driftgate_capture_spool_bytes{`+ofGate+`})`, "{{instance}}")).Min(0)).
		WithPanel(graph("Uploads a second", "Captures sent to the object store, by how it went. Errors are tried again; refused are kept aside.", units.RequestsPerSecond, 8,
			query("A", `sum by (result) (rate(driftgate_capture_uploads_total{`+ofGate+`}[$__rate_interval]))`, "{{result}}")).Min(0)).
		WithPanel(graph("Objects that the catalogue met", "New, changed, vanished or unreadable objects found when the buckets were compared with the ledger.", units.Short, 24,
			query("A", `sum by (result) (increase(driftgate_catalog_objects_total{`+ofGate+`}[$__rate_interval]))`, "{{result}}")).Min(0).AxisSoftMax(1).Height(6))
}

func pipelines(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("Do its pipelines run?")).
		WithPanel(graph("Since the last success", "How long ago each pipeline last ended well.", seconds, 8,
			query("A", `time() - max by (pipeline) (driftgate_pipeline_last_success_timestamp_seconds{`+ofGate+`})`, "{{pipeline}}")).Min(0)).
		WithPanel(stacked(graph("Passes", "Passes that ended, by pipeline and how.", units.Short, 8,
			query("A", `sum by (pipeline, state) (increase(driftgate_pipeline_runs_total{`+ofGate+`}[$__rate_interval])) > 0`, "{{pipeline}}: {{state}}")).NoValue("no pass ended"))).
		WithPanel(graph("Late and skipped", "Data intervals begun late, and those left out because the pipeline was too far behind.", units.Short, 8,
			query("A", `sum by (pipeline) (increase(driftgate_pipeline_intervals_late_total{`+ofGate+`}[$__rate_interval]))`, "{{pipeline}}: late"),
			query("B", `sum by (pipeline) (increase(driftgate_pipeline_intervals_skipped_total{`+ofGate+`}[$__rate_interval]))`, "{{pipeline}}: skipped")).Min(0)).
		WithPanel(graph("Alerts received", "Alerts that Alertmanager sent to the webhook, by what became of them, and those it cut off.", units.Short, 8,
			query("A", `sum by (result) (increase(driftgate_webhook_alerts_total{`+ofGate+`}[$__rate_interval]))`, "{{result}}"),
			query("B", `sum(increase(driftgate_webhook_truncated_alerts_total{`+ofGate+`}[$__rate_interval]))`, "cut off")).Min(0).AxisSoftMax(1)).
		WithPanel(graph("Lost on the way", "Requests turned away because too many came, and feature sums not kept. Both should be zero.", units.Short, 8,
			query("A", `sum(increase(driftgate_http_limited_total{`+ofGate+`}[$__rate_interval]))`, "requests turned away"),
			query("B", `sum(increase(driftgate_features_lost_total{`+ofGate+`}[$__rate_interval]))`, "feature sums lost")).Min(0).AxisSoftMax(1)).
		WithPanel(graph("Lost by StatsD", "Packets that nobody took, and lines too long for one, by gateway. Both should be zero. Packets that get lost further on are seen by nobody here.", units.Short, 8,
			query("A", `max by (instance) (increase(driftgate_statsd_failed_packets_total{`+ofGate+`}[$__rate_interval]))`, "{{instance}}: packets refused"),
			query("B", `max by (instance) (increase(driftgate_statsd_dropped_lines_total{`+ofGate+`}[$__rate_interval]))`, "{{instance}}: lines too long")).Min(0).AxisSoftMax(1).NoValue("off: statsd.address is empty").Links(more("statsd-failing")))
}

func process(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("The process")).
		WithPanel(name("Version", "Of the program, by gateway.", `max by (version) (driftgate_build_info{`+ofGate+`})`, "{{version}}", 5).Height(7)).
		WithPanel(figure("Last reload", "Whether the configuration was without a mistake when a gateway last read it. After a failed reload the old one stays in effect, and the next start will refuse the new one.",
			`min(driftgate_config_last_reload_successful{`+ofGate+`})`, units.Short, 5).Height(7).Text(common.NewVizTextDisplayOptionsBuilder().ValueSize(30)).Mappings(words(word{"failed", bad}, word{"good", accent})).Thresholds(steps(bad, 1.0, accent)).Links(more("config-reload-failed"))).
		WithPanel(graph("Memory", "Bytes in use by the program's heap, by gateway.", units.BytesIEC, 7,
			query("A", `max by (instance) (go_memstats_heap_inuse_bytes{`+ofGate+`})`, "{{instance}}")).Min(0).Height(7)).
		WithPanel(graph("Goroutines", "A number that only grows is a leak.", units.Short, 7,
			query("A", `max by (instance) (go_goroutines{`+ofGate+`})`, "{{instance}}")).Min(0).Height(7))
}

package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

const (
	window  = `{model="$model",window="$window",estimator="stratified"}`
	ofModel = `{model="$model"}`
)

// overview answers three questions for whoever is on call: is production
// accuracy inside its promise, how sure are we, and what is the loop doing?
func overview() *dashboard.DashboardBuilder {
	b := dashboard.NewDashboardBuilder("driftgate: overview").Uid("driftgate-overview").
		Description("Is production accuracy inside its promise? How sure are we? What is the loop doing?").
		Tags([]string{"driftgate"}).Timezone("utc").Refresh("30s").Time("now-7d", "now").Readonly().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Description("A Prometheus").Type("prometheus")).
		WithVariable(choice("model", "Model", "The model's name, the same for all versions", "label_values(driftgate_accuracy_alarm_state, model)", "")).
		WithVariable(choice("window", "Window", "Span of predictions behind one figure", `label_values(driftgate_window_predictions{model="$model"}, window)`, "24h")).
		Annotation(mark("Alarm fires", bad, `max by (model) (driftgate_accuracy_alarm_state{model="$model"}) == 2`, "alarm")).
		Annotation(mark("Champion moves", accent, `changes(max by (model) (driftgate_champion_promoted_timestamp_seconds{model="$model"})[2m:]) > 0`, "champion")).
		Link(dashboard.NewDashboardLinkBuilder("Runbooks").Type(dashboard.DashboardLinkTypeLink).Url("https://driftgate.example/runbooks").Icon("doc").TargetBlank(true))
	promise(b)
	certainty(b)
	loop(b)
	return b
}

func promise(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("Is production accuracy inside its promise?")).
		WithPanel(figure("Production accuracy", "Weighted by stratum, by human labels, over the window. No figure means too few labels.",
			`max(driftgate_production_accuracy_ratio`+window+`)`, units.PercentUnit, 5).Decimals(1)).
		WithPanel(figure("At least", "Lower 95% bound.", `max(driftgate_production_accuracy_lower_ratio`+window+`)`, units.PercentUnit, 4).Decimals(1)).
		WithPanel(figure("At most", "Upper 95% bound.", `max(driftgate_production_accuracy_upper_ratio`+window+`)`, units.PercentUnit, 4).Decimals(1)).
		WithPanel(figure("Promised", "What the champion's accuracy was at least when it took over: the reference of the alarm.",
			`max(driftgate_reference_accuracy_ratio`+ofModel+`)`, units.PercentUnit, 4).Decimals(1)).
		WithPanel(figure("Drift alarm", "The e-detector's state. Its false alarms are bounded however often one looks.",
			`max(driftgate_accuracy_alarm_state`+ofModel+`)`, units.Short, 4).Mappings(states()).Thresholds(steps(accent, 1.0, middle, 2.0, bad))).
		WithPanel(figure("Newest label", "How long ago somebody labelled. Without labels there is no accuracy.",
			`time() - max(driftgate_newest_label_timestamp_seconds`+ofModel+`)`, seconds, 3).Decimals(0).Thresholds(steps(accent, 86400.0, middle, 172800.0, bad))).
		WithPanel(accuracyGraph())
}

// accuracyGraph shows the figure with its band, the plain average, and the
// reference.
func accuracyGraph() *timeseries.PanelBuilder {
	return graph("Accuracy over time", "The band holds the true accuracy with 95% certainty. The plain average of the labelled looks worse than it is, since hard images are labelled more often.",
		units.PercentUnit, 24,
		query("A", `max(driftgate_production_accuracy_upper_ratio`+window+`)`, "at most"),
		query("B", `max(driftgate_production_accuracy_lower_ratio`+window+`)`, "at least"),
		query("C", `max(driftgate_production_accuracy_ratio`+window+`)`, "accuracy"),
		query("D", `max(driftgate_production_accuracy_ratio{model="$model",window="$window",estimator="labelled"})`, "plain average of labels"),
		query("E", `max(driftgate_reference_accuracy_ratio`+ofModel+`)`, "promised")).
		Height(11).AxisSoftMin(0.5).AxisSoftMax(1).Max(1).Min(0).
		OverrideByName("at most", []dashboard.DynamicConfigValue{fixed(accent), property("custom.lineWidth", 0), property("custom.fillBelowTo", "at least"), property("custom.fillOpacity", 18)}).
		OverrideByName("at least", []dashboard.DynamicConfigValue{fixed(accent), property("custom.lineWidth", 0)}).
		OverrideByName("accuracy", []dashboard.DynamicConfigValue{fixed(accent), property("custom.lineWidth", 2.5)}).
		OverrideByName("plain average of labels", []dashboard.DynamicConfigValue{fixed(grey), property("custom.lineWidth", 1)}).
		OverrideByName("promised", []dashboard.DynamicConfigValue{fixed(grey), property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{6, 6}})})
}

func certainty(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("How sure are we?")).
		WithPanel(graph("Labels in the window", "Predictions of the window that people have labelled, by why they were picked.", units.Short, 8,
			query("A", `max by (stratum) (driftgate_window_labels{model="$model",window="$window"})`, "{{stratum}}")).Min(0)).
		WithPanel(graph("Predictions in the window", "All predictions of the window, by stratum: what the labels stand for.", units.Short, 8,
			query("A", `max by (stratum) (driftgate_window_predictions{model="$model",window="$window"})`, "{{stratum}}")).Min(0)).
		WithPanel(graph("Evidence of drift", "The e-detector's evidence in years: it is raised when it reaches the threshold, and starts again then.", units.Short, 8,
			query("A", `max(driftgate_accuracy_evalue`+ofModel+`)`, "evidence")).
			ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10))).
		WithPanel(graph("Drift of the inputs", "Distance of recent inputs from those of the champion's first days, by test. Early, and no proof.", units.Short, 12,
			query("A", `max by (test) (driftgate_input_drift_score`+ofModel+`)`, "{{test}}")).Min(0).AxisSoftMax(0.3)).
		WithPanel(graph("From prediction to label", "Half and nine tenths of the labels came within so long.", seconds, 12,
			query("A", `histogram_quantile(0.5, sum by (le) (rate(driftgate_label_delay_seconds_bucket{model="$model"}[1h])))`, "half"),
			query("B", `histogram_quantile(0.9, sum by (le) (rate(driftgate_label_delay_seconds_bucket{model="$model"}[1h])))`, "nine tenths")).Min(0))
}

func loop(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("What is the loop doing?")).
		WithPanel(graph("Predictions a second", "Acknowledged predictions, by model version.", units.RequestsPerSecond, 8,
			query("A", `sum by (model_version) (rate(driftgate_predictions_total[5m]))`, "{{model_version}}")).Min(0)).
		WithPanel(graph("Time to a durable prediction", "From the upload's last byte to the capture on disk.", seconds, 8,
			query("A", `histogram_quantile(0.5, sum by (le) (rate(driftgate_prediction_duration_seconds_bucket[5m])))`, "half"),
			query("B", `histogram_quantile(0.99, sum by (le) (rate(driftgate_prediction_duration_seconds_bucket[5m])))`, "99 in 100")).Min(0)).
		WithPanel(graph("Captured, not yet uploaded", "Predictions on the local spool. It empties by itself once the object store answers.", units.Short, 8,
			query("A", `max by (instance) (driftgate_capture_spool_items)`, "{{instance}}")).Min(0)).
		WithPanel(graph("Requests to retrain", "By who asked and what was decided, in each half hour.", units.Short, 8,
			query("A", `sum by (source, decision) (increase(driftgate_triggers_total[30m])) > 0`, "{{source}}: {{decision}}")).Min(0)).
		WithPanel(graph("Retrainings", "Ended retrainings, by how they ended, in each half hour.", units.Short, 8,
			query("A", `sum by (verdict) (increase(driftgate_retrain_runs_total[30m]))`, "{{verdict}}")).Min(0)).
		WithPanel(graph("Since the last success", "How long ago each pipeline last ended well.", seconds, 8,
			query("A", `time() - max by (pipeline) (driftgate_pipeline_last_success_timestamp_seconds)`, "{{pipeline}}")).Min(0))
}

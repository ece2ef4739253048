package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Figures of the window, and what the champion promised.
const (
	figureOf  = `max(driftgate_production_accuracy_ratio{` + ofWindow + `,estimator="stratified"})`
	atLeast   = `max(driftgate_production_accuracy_lower_ratio{` + ofWindow + `,estimator="stratified"})`
	atMost    = `max(driftgate_production_accuracy_upper_ratio{` + ofWindow + `,estimator="stratified"})`
	reference = `max(driftgate_reference_accuracy_ratio{` + ofModel + `})`
	alarm     = `max(driftgate_accuracy_alarm_state{` + ofModel + `})`
)

// overview answers three questions for whoever is on call: is production
// accuracy inside its promise, how sure are we, and what is the loop doing?
func overview() *dashboard.DashboardBuilder {
	b := board("overview", "driftgate-overview", "Is production accuracy inside its promise? How sure are we? What is the loop doing?")
	promise(b)
	certainty(b)
	loop(b)
	return b
}

func promise(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("Is production accuracy inside its promise?")).
		WithPanel(verdict()).
		WithPanel(figure("Accuracy", "Of the predictions in production, by human labels, weighted by why each image was picked, over the window. No figure means too few labels.",
			figureOf, units.PercentUnit, 3).Decimals(1).Links(page("How it is made", "/accuracy"))).
		WithPanel(figure("Surely between", "The 95% interval: the lower bound, then the upper. The truth is in it 19 times in 20.", atLeast, units.PercentUnit, 4).Decimals(1).
			WithTarget(instant(atMost).RefId("B").LegendFormat("at most")).
			OverrideByQuery("A", []dashboard.DynamicConfigValue{property("displayName", "at least")}).
			OverrideByQuery("B", []dashboard.DynamicConfigValue{property("displayName", "at most")})).
		WithPanel(figure("Labels behind it", "Human labels of the window's predictions: the more, the narrower the interval. Yellow below a hundred, red below thirty, where there is no figure.",
			`sum(max by (stratum) (driftgate_window_labels{`+ofWindow+`}))`, units.LocaleFormat, 3).Decimals(0).Thresholds(steps(bad, 30.0, middle, 100.0, plain)).Links(more("no-labels"))).
		WithPanel(figure("Promised", "What the champion's accuracy was at least when it took over: the reference of the alarm. No figure until enough labels came in.",
			reference, units.PercentUnit, 3).Decimals(1)).
		WithPanel(figure("Drift alarm", "The e-detector's state. Its false alarms are bounded however often one looks.",
			alarm, units.Short, 3).Mappings(alarmStates()).Thresholds(steps(accent, 1.0, middle, 2.0, bad)).Links(more("accuracy-evidence-of-drift"))).
		WithPanel(figure("Newest label", "How long ago somebody labelled. Without labels there is no accuracy. Yellow after a day, red after two.",
			`time() - max(driftgate_newest_label_timestamp_seconds{`+ofModel+`})`, seconds, 3).Decimals(0).Thresholds(steps(accent, 86400.0, middle, 172800.0, bad)).Links(more("labels-stale"))).
		WithPanel(accuracyGraph())
}

// verdict puts the row into words, certainty included, so that nobody has to
// compare numbers: 0 the whole interval is at the promise or above, 1 the figure
// is and the interval reaches below, 2 the figure lies below and the interval
// still reaches the promise, 3 the whole interval lies below, 4 the alarm fires.
func verdict() *stat.PanelBuilder {
	below := func(what string) string { return `(` + what + ` < bool ` + reference + `)` }
	firing := `4 * (` + alarm + ` == bool 2)`
	expr := `clamp_max(` + below(atLeast) + ` + ` + below(figureOf) + ` + ` + below(atMost) + ` + ` + firing + `, 4) or (` + firing + ` > 0)`
	return figure("Is the model fine?", "Yes, surely: even the interval's lower end is at the promise or above. Probably: the figure is, the interval reaches below. Perhaps not: the figure lies below, and the interval still reaches the promise. No: the whole interval lies below, or the drift alarm fires. Not known: too few labels for a figure, or the champion is too new to have a reference.",
		expr, units.Short, 5).NoValue("not known yet").ColorMode(common.BigValueColorModeBackground).
		Mappings(words(word{"yes, surely", accent}, word{"probably", likely}, word{"perhaps not", middle}, word{"no: below its promise", bad}, word{"no: drift", bad})).
		Thresholds(steps(grey, 0.0, accent, 1.0, likely, 2.0, middle, 3.0, bad)).Links(more("production-accuracy-below-reference"))
}

// accuracyGraph shows the figure with its band, the plain average, and the
// reference.
func accuracyGraph() *timeseries.PanelBuilder {
	p := graph("Accuracy over time", "The band holds the true accuracy with 95% certainty. Where nothing is drawn, there were too few labels. The plain average of the labelled looks worse than it is, since hard images are labelled more often.",
		units.PercentUnit, 24,
		query("A", atMost, "at most"), query("B", atLeast, "at least"), query("C", figureOf, "accuracy"),
		query("D", `max(driftgate_production_accuracy_ratio{`+ofWindow+`,estimator="labelled"})`, "plain average of labels"),
		query("E", reference, "promised"))
	return band(p, "at most", "at least", accent).Height(11).AxisSoftMin(0.5).AxisSoftMax(1).Max(1).Min(0).
		OverrideByName("accuracy", line(accent, 2.5)).OverrideByName("plain average of labels", line(grey, 1)).OverrideByName("promised", dashed(second))
}

func certainty(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("How sure are we?")).
		WithPanel(stacked(graph("Labels in the window", "Predictions of the window that people have labelled, by why they were picked.", units.Short, 8,
			query("A", `max by (stratum) (driftgate_window_labels{`+ofWindow+`})`, "{{stratum}}"))).Links(more("no-labels"))).
		WithPanel(stacked(graph("Predictions in the window", "All predictions of the window, by stratum: what the labels stand for.", units.Short, 8,
			query("A", `max by (stratum) (driftgate_window_predictions{`+ofWindow+`})`, "{{stratum}}")))).
		WithPanel(graph("Evidence of drift", "The e-detector's evidence in years: the alarm is raised when it reaches the threshold set in driftgate, and it starts again then. Each step of the scale is ten times the last.", units.Short, 8,
			query("A", `max(driftgate_accuracy_evalue{`+ofModel+`}) > 0`, "evidence, years")).Unit(units.ScientificNotation).
			ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10)).Links(more("accuracy-evidence-of-drift"))).
		WithPanel(graph("The same accuracy, estimated in other ways", "stratified is the headline; ppi adds the model's confidence to it; expected is confidence alone, without any label; labelled is the plain average. Where they part, look at the gap.", units.PercentUnit, 12,
			query("A", `max by (estimator) (driftgate_production_accuracy_ratio{`+ofWindow+`})`, "{{estimator}}")).Max(1).AxisSoftMin(0.5).
			OverrideByName("stratified", line(accent, 2.5)).OverrideByName("labelled", line(grey, 1))).
		WithPanel(band(graph("Measured less expected", "What the labels say less what the model's confidence expects, less the same gap at the champion's best. The band below zero: the model is surer than it is right.", units.PercentUnit, 12,
			query("A", `max(driftgate_accuracy_gap_upper_ratio{`+ofWindow+`})`, "at most"),
			query("B", `max(driftgate_accuracy_gap_lower_ratio{`+ofWindow+`})`, "at least"),
			query("C", `max(driftgate_accuracy_gap_ratio{`+ofWindow+`})`, "gap")), "at most", "at least", accent).
			OverrideByName("gap", line(accent, 2.5)).Links(more("model-accuracy-gap"))).
		WithPanel(inputDrift()).
		WithPanel(graph("From prediction to label", "Half and nine tenths of the labels came within so long.", seconds, 12,
			query("A", `histogram_quantile(0.5, sum by (le) (rate(driftgate_label_delay_seconds_bucket{`+ofModel+`}[$__rate_interval])))`, "half"),
			query("B", `histogram_quantile(0.9, sum by (le) (rate(driftgate_label_delay_seconds_bucket{`+ofModel+`}[$__rate_interval])))`, "nine tenths")).Min(0))
}

func inputDrift() *timeseries.PanelBuilder {
	return graph("Drift of the inputs", "Distance of recent inputs from those of the champion's first days, over the distance at which a test raises its hand: above 1 it does. Early, and no proof.", units.Short, 12,
		query("A", `max by (test) (driftgate_input_drift_score{`+ofModel+`}) / max by (test) (driftgate_input_drift_threshold{`+ofModel+`})`, "{{test}}")).
		Min(0).AxisSoftMax(1.2).Thresholds(steps(grey, 1.0, middle)).ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}

func loop(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("What is the loop doing?")).
		WithPanel(name("Champion", "The version that serves.", `max by (version) (driftgate_model_info{`+ofModel+`,role="champion"})`, "{{version}}", 6).Links(page("Models", "/models"))).
		WithPanel(figure("Champion since", "How long ago it took over.", `time() - max(driftgate_champion_promoted_timestamp_seconds{`+ofModel+`,role="champion"})`, seconds, 4).Decimals(1)).
		WithPanel(figure("Promotions", "Retrainings that ended in a promotion, over the time shown.", `sum(increase(driftgate_retrain_runs_total{`+ofGate+`,verdict="promote"}[$__range]))`, units.Short, 4).Decimals(0)).
		WithPanel(figure("Retrainings without one", "Rejected, inconclusive, failed or cancelled, over the time shown.", `sum(increase(driftgate_retrain_runs_total{`+ofGate+`,verdict!="promote"}[$__range]))`, units.Short, 5).Decimals(0).Links(more("retrain-failing"))).
		WithPanel(figure("Gateways up", "Gateways that answer the scrape.", `sum(up * on (instance) group_left () max by (instance) (driftgate_build_info{`+ofGate+`}))`, units.Short, 5).Decimals(0).Thresholds(steps(bad, 1.0, plain)).Links(more("gateway-down"))).
		WithPanel(graph("Requests to retrain", "By who asked and what was decided.", units.Short, 12,
			query("A", `sum by (source, decision) (increase(driftgate_triggers_total{`+ofGate+`}[$__rate_interval])) > 0`, "{{source}}: {{decision}}")).Min(0).Decimals(0).
			DrawStyle(common.GraphDrawStyleBars).FillOpacity(60).NoValue("none asked for")).
		WithPanel(graph("Predictions a second", "Acknowledged predictions, by model version.", units.RequestsPerSecond, 12,
			query("A", `sum by (model_version) (rate(driftgate_predictions_total{`+ofGate+`}[$__rate_interval]))`, "{{model_version}}")).Min(0).Links(more("predictions-absent")))
}

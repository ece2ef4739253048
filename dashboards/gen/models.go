package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// models shows what each version does, to whoever trains them.
func models() *dashboard.DashboardBuilder {
	b := board("model versions", "driftgate-models", "Which version serves, how right is each, where is it wrong, and what came of retraining?")
	versions(b)
	slices(b)
	retraining(b)
	return b
}

// rightBy is the share of right answers among the labels, stratum by stratum:
// one figure for all of them would have to weight each by the predictions that
// it stands for, as the headline does.
const rightBy = `sum by (model_version, stratum) (increase(driftgate_labelled_predictions_total{` + ofGate + `,outcome="correct"}[$__range]))
  / (sum by (model_version, stratum) (increase(driftgate_labelled_predictions_total{` + ofGate + `}[$__range])) > 0)`

// Bounds that hold at all times at once.
const (
	sequenceLower = `max(driftgate_accuracy_sequence_lower_ratio{` + ofModel + `})`
	sequenceUpper = `max(driftgate_accuracy_sequence_upper_ratio{` + ofModel + `})`
)

func versions(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("Which version serves, and how right is each?")).
		WithPanel(name("Champion", "The version that serves.", `max by (version) (driftgate_model_info{`+ofModel+`,role="champion"})`, "{{version}}", 6).Links(page("Models", "/models"))).
		WithPanel(figure("Champion since", "How long ago it took over.", `time() - max(driftgate_champion_promoted_timestamp_seconds{`+ofModel+`,role="champion"})`, seconds, 5).Decimals(1).Links(more("champion-swap-stuck"))).
		WithPanel(figure("Promised", "What its accuracy in production was at least when it took over. No figure until enough labels came in.", reference, units.PercentUnit, 5).Decimals(1)).
		WithPanel(figure("Surely between, ever since", "Bounds since the reference was complete; valid however often one looks.", sequenceLower, units.PercentUnit, 8).Decimals(1).
			WithTarget(instant(sequenceUpper).RefId("B")).
			OverrideByQuery("A", []dashboard.DynamicConfigValue{property("displayName", "at least")}).
			OverrideByQuery("B", []dashboard.DynamicConfigValue{property("displayName", "at most")})).
		WithPanel(named(bars("Accuracy before serving", "On the data sets it was judged with.", units.PercentUnit, 8, `max by (version, dataset) (driftgate_evaluation_accuracy_ratio{`+ofGate+`})`, "{{version}} on {{dataset}}")).Min(0).Max(1).Decimals(1).Height(9)).
		WithPanel(named(bars("Right answers among labels", "By version and why the images were picked, over the time shown. Not production accuracy: that weights each stratum by the predictions it stands for. Few labels make it jump.", units.PercentUnit, 8, rightBy, "{{model_version}} {{stratum}}")).Min(0).Max(1).Decimals(0).Height(9)).
		WithPanel(named(bars("Labels", "Labels that came in, over the time shown.", units.LocaleFormat, 8, `sum by (model_version) (increase(driftgate_labelled_predictions_total{`+ofGate+`}[$__range]))`, "{{model_version}}")).Min(0).Decimals(0).Height(9)).
		WithPanel(band(graph("Accuracy since the champion's reference", "A band that holds at all times at once, with 95% certainty: look as often as you like.", units.PercentUnit, 12,
			query("A", sequenceUpper, "at most"),
			query("B", sequenceLower, "at least"),
			query("C", reference, "promised")), "at most", "at least", accent).Max(1).Min(0).AxisSoftMin(0.5).OverrideByName("promised", dashed(second))).
		WithPanel(stacked(graph("Predictions a second, by version", "One colour gives way to the next when the champion moves.", units.RequestsPerSecond, 12,
			query("A", `sum by (model_version) (rate(driftgate_predictions_total{`+ofGate+`}[$__rate_interval]))`, "{{model_version}}"))))
}

func slices(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("Where is it wrong?")).
		WithPanel(bars("Accuracy by predicted class", "Over the window, worst first. Classes with too few labels are missing.", units.PercentUnit, 8,
			`sort(max by (value) (driftgate_slice_accuracy_ratio{`+ofWindow+`,slice="class"}))`, "{{value}}").Min(0).Max(1).Decimals(0).NoValue("too few labels").Links(page("Slices", "/accuracy"))).
		WithPanel(named(bars("Accuracy by confidence", "Over the window, by how sure the model was, from 0 to 1. A model that knows what it knows is right as often as it is sure.", units.PercentUnit, 8,
			`max by (value) (driftgate_slice_accuracy_ratio{`+ofWindow+`,slice="confidence"})`, "{{value}}")).Min(0).Max(1).Decimals(0).NoValue("too few labels")).
		WithPanel(bars("Surely at least, by class", "Lower bound of the 95% interval: low for few labels too.", units.PercentUnit, 8,
			`sort(max by (value) (driftgate_slice_accuracy_lower_ratio{`+ofWindow+`,slice="class"}))`, "{{value}}").Min(0).Max(1).Decimals(0).NoValue("too few labels")).
		WithPanel(stacked(graph("What it answers", "Share of each class among the predictions. A shift is drift of the inputs, or of the model.", units.PercentUnit, 12,
			query("A", `sum by (class) (rate(driftgate_predictions_total{`+ofGate+`}[$__rate_interval])) / on () group_left () (sum(rate(driftgate_predictions_total{`+ofGate+`}[$__rate_interval])) > 0)`, "{{class}}")).Max(1))).
		WithPanel(graph("How sure it is", "A tenth and half of the predictions are at most so confident, by version.", units.PercentUnit, 12,
			query("A", `histogram_quantile(0.1, sum by (le, model_version) (rate(driftgate_prediction_confidence_bucket{`+ofGate+`}[$__rate_interval])))`, "a tenth, {{model_version}}"),
			query("B", `histogram_quantile(0.5, sum by (le, model_version) (rate(driftgate_prediction_confidence_bucket{`+ofGate+`}[$__rate_interval])))`, "half, {{model_version}}")).Max(1).AxisSoftMin(0)).
		WithPanel(inputDrift()).
		WithPanel(stacked(graph("Labels that say it was wrong", "Labels against the model's answer, by why the image was picked.", units.Short, 12,
			query("A", `sum by (stratum) (increase(driftgate_labelled_predictions_total{`+ofGate+`,outcome="incorrect"}[$__rate_interval]))`, "{{stratum}}"))))
}

func retraining(b *dashboard.DashboardBuilder) {
	b.WithRow(dashboard.NewRowBuilder("What came of retraining?")).
		WithPanel(named(bars("Retrainings by verdict", "Over the time shown.", units.Short, 8,
			`sum by (verdict) (increase(driftgate_retrain_runs_total{`+ofGate+`}[$__range]))`, "{{verdict}}")).Min(0).Decimals(0).Links(page("Decisions", "/decisions"))).
		WithPanel(named(bars("Retrainings by who asked", "Over the time shown.", units.Short, 8,
			`sum by (trigger) (increase(driftgate_retrain_runs_total{`+ofGate+`}[$__range]))`, "{{trigger}}")).Min(0).Decimals(0).Links(more("challenger-inconclusive"))).
		WithPanel(figure("Time a retraining takes", "Mean of those that ended in the time shown.",
			`sum(increase(driftgate_retrain_duration_seconds_sum{`+ofGate+`}[$__range])) / (sum(increase(driftgate_retrain_duration_seconds_count{`+ofGate+`}[$__range])) > 0)`, seconds, 8).
			Height(7).Decimals(0).NoValue("none ended")).
		WithPanel(graph("Training speed", "Images a second of the training that runs.", units.Short, 12,
			query("A", `max(driftgate_training_samples_per_second{`+ofGate+`})`, "images a second")).Min(0)).
		WithPanel(graph("Champion followed", "Swaps of the served model, by whether the new one was taken over after its self-test.", units.Short, 12,
			query("A", `sum by (result) (increase(driftgate_champion_follows_total{`+ofModel+`}[$__rate_interval]))`, "{{result}}")).Min(0).DrawStyle(common.GraphDrawStyleBars).FillOpacity(60).Links(more("champion-swap-stuck")))
}

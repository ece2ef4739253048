package main

import (
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// The colours: one accent, one for trouble, one between.
const (
	accent = "#1f8a77"
	likely = "#5d8f4e" // fine, as far as one can tell
	grey   = "#8e8e8e"
	second = "#5794f2"
	plain  = "text" // Grafana's own colour of text, in the light theme and the dark
	bad    = "#d44a3a"
	middle = "#d69e2e"
)

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

func query(ref, expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(ref).Expr(expr).LegendFormat(legend).Range().Datasource(source())
}

func instant(expr string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId("A").Expr(expr).Instant().Datasource(source())
}

// figure is a panel with one number.
func figure(title, description, expr, unit string, width uint32) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Description(description).Datasource(source()).
		WithTarget(instant(expr)).Unit(unit).NoValue("unknown").
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		GraphMode(common.BigValueGraphModeNone).ColorMode(common.BigValueColorModeValue).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		Thresholds(steps(plain)).Height(5).Span(width)
}

// name is a panel that shows a label of the series instead of its value.
func name(title, description, expr, legend string, width uint32) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Description(description).Datasource(source()).
		WithTarget(instant(expr).LegendFormat(legend)).Unit(units.Short).NoValue("none").
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		GraphMode(common.BigValueGraphModeNone).ColorMode(common.BigValueColorModeValue).TextMode(common.BigValueTextModeName).
		Text(common.NewVizTextDisplayOptionsBuilder().ValueSize(30)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		Thresholds(steps(plain)).Height(5).Span(width)
}

// bars is a panel with one bar per series, as of now.
func bars(title, description, unit string, width uint32, expr, legend string) *bargauge.PanelBuilder {
	return bargauge.NewPanelBuilder().Title(title).Description(description).Datasource(source()).
		WithTarget(instant(expr).LegendFormat(legend)).Unit(unit).NoValue("no figure").
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		Orientation(common.VizOrientationHorizontal).DisplayMode(common.BarGaugeDisplayModeBasic).
		Sizing(common.BarGaugeSizingManual).MinVizHeight(12).MaxVizHeight(34).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		Thresholds(steps(accent)).Height(7).Span(width)
}

// named puts the names above the bars, where long ones have room.
func named(p *bargauge.PanelBuilder) *bargauge.PanelBuilder {
	return p.NamePlacement(common.BarGaugeNamePlacementTop).MaxVizHeight(46)
}

// graph is a panel over time.
func graph(title, description, unit string, width uint32, targets ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Description(description).Datasource(source()).Unit(unit).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic)).
		LineWidth(1.6).FillOpacity(0).ShowPoints(common.VisibilityModeNever).NoValue("no figure").
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti)).
		Height(9).Span(width)
	for _, t := range targets {
		p = p.WithTarget(t)
	}
	return p
}

// stacked shows parts of a whole.
func stacked(p *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	return p.Min(0).FillOpacity(35).LineWidth(1).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
}

// band draws upper and lower as one shaded area.
func band(p *timeseries.PanelBuilder, upper, lower, color string) *timeseries.PanelBuilder {
	return p.
		OverrideByName(upper, []dashboard.DynamicConfigValue{fixed(color), property("custom.lineWidth", 0), property("custom.fillBelowTo", lower), property("custom.fillOpacity", 18)}).
		OverrideByName(lower, []dashboard.DynamicConfigValue{fixed(color), property("custom.lineWidth", 0)})
}

func line(color string, width float64) []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{fixed(color), property("custom.lineWidth", width)}
}

func dashed(color string) []dashboard.DynamicConfigValue {
	return append(line(color, 1.6), property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{6, 6}}))
}

// steps are thresholds: the base colour, then pairs of value and colour.
func steps(base string, more ...any) *dashboard.ThresholdsConfigBuilder {
	list := []dashboard.Threshold{{Color: base}}
	for i := 0; i+1 < len(more); i += 2 {
		list = append(list, dashboard.Threshold{Value: cog.ToPtr(more[i].(float64)), Color: more[i+1].(string)})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(list)
}

func property(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

func fixed(color string) dashboard.DynamicConfigValue {
	return property("color", map[string]any{"mode": "fixed", "fixedColor": color})
}

// word is what a panel says for a number.
type word struct{ text, color string }

// words says in words what the numbers 0, 1, 2 … mean.
func words(list ...word) []dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, w := range list {
		options[strconv.Itoa(i)] = dashboard.ValueMappingResult{Text: cog.ToPtr(w.text), Color: cog.ToPtr(w.color), Index: cog.ToPtr(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}}
}

// alarmStates are the words for accuracy_alarm_state.
func alarmStates() []dashboard.ValueMapping {
	return words(word{"quiet", accent}, word{"pending", middle}, word{"firing", bad})
}

func choice(name, label, description, expr, current string) *dashboard.QueryVariableBuilder {
	v := dashboard.NewQueryVariableBuilder(name).Label(label).Description(description).
		Query(dashboard.StringOrMap{String: cog.ToPtr(expr)}).Definition(expr).Datasource(source()).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortNaturalAsc)
	if current != "" {
		text := dashboard.StringOrArrayOfString{String: cog.ToPtr(current)}
		v = v.Current(dashboard.VariableOption{Selected: cog.ToPtr(true), Text: text, Value: text})
	}
	return v
}

func address(name, label, description, value string) *dashboard.TextBoxVariableBuilder {
	text := dashboard.StringOrArrayOfString{String: cog.ToPtr(value)}
	return dashboard.NewTextBoxVariableBuilder(name).Label(label).Description(description).
		DefaultValue(dashboard.StringOrMap{String: cog.ToPtr(value)}).Current(dashboard.VariableOption{Text: text, Value: text})
}

func mark(name, color, expr, ref string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(source()).Enable(true).IconColor(color).Expr(expr).
		Target(prometheus.NewDataqueryBuilder().RefId(ref).Expr(expr).Range())
}

func link(title, url string) *dashboard.DashboardLinkBuilder {
	return dashboard.NewDashboardLinkBuilder(title).Type(dashboard.DashboardLinkTypeLink).Url(url).TargetBlank(true)
}

// more links a panel to the runbook's section of an alert.
func more(section string) []cog.Builder[dashboard.DashboardLink] {
	return []cog.Builder[dashboard.DashboardLink]{link("Runbook", "${runbooks}#"+section)}
}

// page links a panel to one of driftgate's own pages.
func page(title, path string) []cog.Builder[dashboard.DashboardLink] {
	return []cog.Builder[dashboard.DashboardLink]{link(title, "${gateway}"+path)}
}

// board is what all dashboards share: variables, annotations, links, times.
func board(title, uid, description string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("driftgate: "+title).Uid(uid).Description(description).
		Tags([]string{"driftgate"}).Timezone("utc").Refresh("30s").Time("now-7d", "now").Readonly().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Description("A Prometheus").Type("prometheus")).
		WithVariable(choice("instance", "Instance", "Gateways as scraped", "label_values(driftgate_build_info, instance)", "").Multi(true).IncludeAll(true).AllValue(".+").
			Current(dashboard.VariableOption{Selected: cog.ToPtr(true), Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")}})).
		WithVariable(choice("model", "Model", "The model's name, the same for all versions", "label_values(driftgate_accuracy_alarm_state, model)", "")).
		WithVariable(choice("window", "Window", "Span of predictions behind one figure", `label_values(driftgate_window_predictions{model="$model"}, window)`, "24h")).
		WithVariable(address("gateway", "driftgate", "Where people open driftgate's pages", "https://driftgate.example")).
		WithVariable(address("runbooks", "Runbooks", "Where the runbooks are, as in alerts/slo.yml", "https://driftgate.example/runbooks")).
		Annotation(mark("Alarm fires", bad, `max by (model) (driftgate_accuracy_alarm_state{`+ofModel+`}) == 2`, "alarm")).
		Annotation(mark("Promotion", accent, moved+` unless on () `+back, "promotion")).
		Annotation(mark("Rollback", middle, moved+` and on () `+back, "rollback")).
		Link(dashboard.NewDashboardLinkBuilder("driftgate").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"driftgate"}).AsDropdown(true).IncludeVars(true).KeepTime(true)).
		Link(link("Runbooks", "${runbooks}").Icon("doc")).
		Link(link("Accuracy", "${gateway}/accuracy")).Link(link("Models", "${gateway}/models")).Link(link("Runs", "${gateway}/runs"))
}

// The champion moves when its promotion's time changes: back, when a gateway
// now serves what was the version before on that same gateway.
const (
	since = `max by (model) (driftgate_champion_promoted_timestamp_seconds{` + ofModel + `,role="champion"}`
	moved = `(` + since + `) != ` + since + ` offset $__rate_interval))`
	back  = `max by (model) (driftgate_model_info{` + ofModel + `,role="champion"} and on (job, instance, version) driftgate_model_info{` + ofModel + `,role="previous"} offset $__rate_interval)`
)

// Label matchers.
const (
	ofGate   = `instance=~"$instance"`
	ofModel  = ofGate + `,model="$model"`
	ofWindow = ofModel + `,window="$window"`
)

const seconds = units.Seconds

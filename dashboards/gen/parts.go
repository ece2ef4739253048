package main

import (
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
	grey   = "#8e8e8e"
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
		WithTarget(instant(expr)).Unit(unit).NoValue("no figure").
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		GraphMode(common.BigValueGraphModeNone).ColorMode(common.BigValueColorModeValue).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		Thresholds(steps(accent)).Height(5).Span(width)
}

// graph is a panel over time.
func graph(title, description, unit string, width uint32, targets ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Description(description).Datasource(source()).Unit(unit).
		LineWidth(1.6).FillOpacity(0).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti)).
		Height(9).Span(width)
	for _, t := range targets {
		p = p.WithTarget(t)
	}
	return p
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

// states are the words for accuracy_alarm_state.
func states() []dashboard.ValueMapping {
	words := map[string]dashboard.ValueMappingResult{}
	for i, w := range []struct{ text, color string }{{"quiet", accent}, {"pending", middle}, {"firing", bad}} {
		words[string(rune('0'+i))] = dashboard.ValueMappingResult{Text: cog.ToPtr(w.text), Color: cog.ToPtr(w.color), Index: cog.ToPtr(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: words}}}
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

func mark(name, color, expr, title string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(source()).Enable(true).IconColor(color).Expr(expr).
		Target(prometheus.NewDataqueryBuilder().RefId(title).Expr(expr).Range())
}

const seconds = units.Seconds

package web

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/experiment"
)

// Experiments is what the web asks of [experiment.Store].
type Experiments interface {
	List(ctx context.Context, q experiment.Query) (experiment.Page, error)
	Get(ctx context.Context, id string) (experiment.Record, error)
	Made(ctx context.Context, version dg.ModelRef) (experiment.Record, error)
	Children(ctx context.Context, id string, limit int) ([]experiment.Record, error)
	Edit(ctx context.Context, id string, c experiment.Change) (experiment.Record, error)
	Export(ctx context.Context, f experiment.Filter, o experiment.Order, curves bool) iter.Seq2[experiment.Record, error]
}

const (
	filterDoc  = "terms that must all hold, with spaces between: kind=train metrics.test_accuracy>.85 params.start=warm note~\"new supplier\" tag:baseline"
	sortDoc    = "a field, upwards, or with - before it downwards; the latest first when empty"
	columnsDoc = "fields with commas between: id, kind, state, verdict, run, parent, version, error, note, started, finished, seconds, metrics.NAME, params.NAME, env.NAME, tags.NAME"
)

// experimentQuery is what the table, its page and its exports ask for.
type experimentQuery struct {
	Filter, Sort, Columns string
}

type parsedQuery struct {
	filter  experiment.Filter
	order   experiment.Order
	columns []experiment.Field
}

// parse reads the three and reports every fault at once.
func (q experimentQuery) parse() (p parsedQuery, err error) {
	var errs [3]error
	p.filter, errs[0] = experiment.ParseFilter(q.Filter)
	p.order, errs[1] = experiment.ParseOrder(q.Sort)
	p.columns, errs[2] = experiment.ParseColumns(q.Columns)
	return p, errors.Join(errs[:]...)
}

type experimentList struct {
	Experiments []experiment.Record `json:"experiments,omitzero" required:"false" doc:"whole records without their curves; absent when columns are asked for"`
	Columns     []string            `json:"columns,omitempty"`
	Rows        []map[string]any    `json:"rows,omitzero" required:"false" doc:"the columns that were asked for, by name, and the id"`
	Next        string              `json:"next,omitempty" doc:"after=… of the page that follows"`
}

// addExperimentAPI registers what lists, shows, marks and exports experiments.
func (s *server) addExperimentAPI(api huma.API) {
	register(s, api, op("experiments", "GET", "/experiments", "Experiments", "Training runs, trials and evaluations; "+filterDoc), func(ctx context.Context, in *struct {
		Filter  string `query:"filter" maxLength:"2000"`
		Sort    string `query:"sort" maxLength:"250" doc:"a field, upwards, or with - before it downwards; the latest first when empty"`
		Columns string `query:"columns" maxLength:"8000" doc:"fields with commas between: id, kind, state, verdict, run, parent, version, error, note, started, finished, seconds, metrics.NAME, params.NAME, env.NAME, tags.NAME"`
		After   string `query:"after" maxLength:"4000" doc:"what the page before said as next"`
		Limit   int    `query:"limit" minimum:"0" maximum:"500" doc:"records of a page; 0 is 50"`
	}) (*out[experimentList], error) {
		return s.listExperiments(ctx, experimentQuery{in.Filter, in.Sort, in.Columns}, in.After, in.Limit)
	})
	type byID struct {
		ID string `path:"id" maxLength:"200"`
	}
	one := op("experiment", "GET", "/experiments/{id}", "Experiments", "One experiment with its curves")
	one.Errors = append(one.Errors, http.StatusNotFound)
	register(s, api, one, func(ctx context.Context, in *byID) (*out[experiment.Record], error) {
		if s.d.Experiments == nil {
			return nil, notHere("keeping experiments")
		}
		r, err := s.d.Experiments.Get(ctx, in.ID)
		return answer(r), err
	})
	edit := op("edit-experiment", "PATCH", "/experiments/{id}", "Experiments", "Change an experiment's tags and note")
	edit.Errors = append(edit.Errors, http.StatusNotFound)
	register(s, api, edit, func(ctx context.Context, in *struct {
		ID   string `path:"id" maxLength:"200"`
		Body struct {
			Tags  map[string]string `json:"tags,omitempty" doc:"to put on; those not named stay"`
			Untag []string          `json:"untag,omitempty" doc:"names of tags to take off" maxItems:"50"`
			Note  *string           `json:"note,omitempty" maxLength:"20000" doc:"in the place of the note; absent: it stays"`
		}
	}) (*out[experiment.Record], error) {
		if s.d.Experiments == nil {
			return nil, notHere("keeping experiments")
		}
		r, err := s.d.Experiments.Edit(ctx, in.ID, changeOf(in.Body.Tags, in.Body.Untag, in.Body.Note))
		return answer(r), err
	})
	s.handle(needsToken, http.MethodGet, apiBase+"/experiments/export", s.exportExperiments)
	s.documentExperimentExport(api.OpenAPI())
}

func changeOf(tags map[string]string, untag []string, note *string) experiment.Change {
	c := experiment.Change{Tags: map[string]*string{}, Note: note}
	for _, name := range untag {
		c.Tags[name] = nil
	}
	for name, v := range tags {
		c.Tags[name] = &v
	}
	return c
}

func (s *server) listExperiments(ctx context.Context, in experimentQuery, after string, limit int) (*out[experimentList], error) {
	if s.d.Experiments == nil {
		return nil, notHere("keeping experiments")
	}
	q, err := in.parse()
	if err != nil {
		return nil, err
	}
	page, err := s.d.Experiments.List(ctx, experiment.Query{Filter: q.filter, Order: q.order, After: after, Limit: limit})
	if err != nil {
		return nil, err
	}
	list := experimentList{Experiments: page.Records, Next: page.Next}
	if in.Columns != "" {
		list.Experiments, list.Rows = nil, []map[string]any{}
		for _, f := range q.columns {
			list.Columns = append(list.Columns, f.String())
		}
		for _, r := range page.Records {
			row := map[string]any{"id": r.ID}
			for _, f := range q.columns {
				row[f.String()] = f.Any(r)
			}
			list.Rows = append(list.Rows, row)
		}
	}
	return answer(list), nil
}

// exportExperiments answers with a file: every record that passes, at most
// [experiment.MaxExport].
func (s *server) exportExperiments(c *gin.Context) {
	if s.d.Experiments == nil {
		s.fail(c, notHere("keeping experiments"))
		return
	}
	in := experimentQuery{c.Query("filter"), c.Query("sort"), c.Query("columns")}
	q, err := in.parse()
	if err != nil {
		s.fail(c, err)
		return
	}
	as := c.Query("as")
	records := s.d.Experiments.Export(c.Request.Context(), q.filter, q.order, as != "csv")
	d := &download{c: c, name: "experiments." + as}
	switch as {
	case "csv":
		d.kind = "text/csv; charset=utf-8"
		if in.Columns == "" {
			q.columns = nil // a file has room for every field
		}
		err = experiment.CSV(d, records, q.columns)
	case "json":
		d.kind = "application/json"
		err = experiment.JSON(d, records)
	case "mlflow":
		d.kind, d.name = "application/zip", "mlruns.zip"
		z := zip.NewWriter(d)
		err = errors.Join(experiment.MLflow(records, s.o.Model, "", experiment.Zip(z)), z.Close())
	default:
		err = fmt.Errorf("as %.20q: want csv, json or mlflow: %w", as, dg.ErrInvalid)
	}
	if err == nil {
		return
	}
	if d.begun { // half a file must not look whole
		s.log.ErrorContext(c.Request.Context(), "export experiments", "as", as, "error", err)
		panic(http.ErrAbortHandler)
	}
	s.fail(c, err)
}

// documentExperimentExport describes the route whose body is a file, and the
// parameters that it shares with the list.
func (s *server) documentExperimentExport(doc *huma.OpenAPI) {
	text := &huma.Schema{Type: "string"}
	doc.AddOperation(&huma.Operation{
		OperationID: "export-experiments", Method: "GET", Path: apiBase + "/experiments/export", Tags: []string{"Experiments"},
		Summary: "Experiments as CSV, as JSON with their curves, or as a zip in the layout of MLflow's file store", Security: []map[string][]string{{"token": {}}},
		Parameters: []*huma.Param{
			{Name: "as", In: "query", Required: true, Schema: &huma.Schema{Type: "string", Enum: []any{"csv", "json", "mlflow"}}},
			{Name: "filter", In: "query", Description: filterDoc, Schema: text},
			{Name: "sort", In: "query", Description: sortDoc, Schema: text},
			{Name: "columns", In: "query", Description: "of the CSV; " + columnsDoc, Schema: text}},
		Responses: map[string]*huma.Response{"200": {Description: "the file; at most 10,000 records"}, "422": {Description: "a filter, sort or column that means nothing"}},
	})
}

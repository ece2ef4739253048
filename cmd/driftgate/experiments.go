package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/experiment"

	"github.com/spf13/cobra"
)

const filterHelp = `A filter is terms with spaces between them, all of which must hold:
  kind=train metrics.test_accuracy>.85 params.start=warm note~"new supplier" tag:baseline
Operators are = != < <= > >= and ~ (contains). Fields are id, kind, state,
verdict, version, parent, run, note, error, started, finished, seconds, and
metrics., params., env. or tags. with a name.`

func newExperiments(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "experiments",
		Short: "training runs and evaluations: list, show, export, tag, note",
		Long:  "Every training run and every evaluation is on record, with its parameters,\nits figures, its curves and what it goes on from.\n\n" + filterHelp,
	}
	c.AddCommand(newExperimentsList(g), newExperimentsShow(g), newExperimentsExport(g), newExperimentsTag(g), newExperimentsNote(g))
	return c
}

// experimentFlags are what list and export share.
type experimentFlags struct{ filter, sort, columns string }

func (f *experimentFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.filter, "filter", "", "which, such as 'kind=retrain metrics.test_accuracy>.85'")
	c.Flags().StringVar(&f.sort, "sort", "", "by which field, - before it for downwards (default the latest first)")
	c.Flags().StringVar(&f.columns, "columns", "", "fields with commas between, such as kind,params.start,metrics.test_accuracy")
}

func (f *experimentFlags) query() url.Values {
	return url.Values{"filter": {f.filter}, "sort": {f.sort}, "columns": {f.columns}}
}

// experimentList is GET /api/v1/experiments.
type experimentList struct {
	Experiments []experiment.Record `json:"experiments,omitzero"`
	Columns     []string            `json:"columns,omitempty"`
	Rows        []map[string]any    `json:"rows,omitzero"`
	Next        string              `json:"next,omitempty"`
}

func newExperimentsList(g *global) *cobra.Command {
	var f experimentFlags
	var limit int
	var after string
	c := &cobra.Command{
		Use:     "list",
		Short:   "a table of them",
		Long:    filterHelp,
		Example: "  driftgate experiments list --filter 'kind!=evaluation state=done' --sort -metrics.test_accuracy\n  driftgate experiments list --columns kind,params.start,metrics.test_accuracy",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			columns, err := experiment.ParseColumns(f.columns)
			if err != nil {
				return usageError{err}
			}
			return g.with(cmd, func(c *app.Client) error {
				q := f.query()
				q.Set("limit", fmt.Sprint(limit))
				q.Set("after", after)
				if g.format == "text" {
					q.Del("columns") // whole records: their texts are made here
				}
				var out experimentList
				if err := c.Get(cmd.Context(), "/api/v1/experiments?"+q.Encode(), &out); err != nil {
					return err
				}
				return g.show(cmd, out, func(w io.Writer) { printExperiments(w, out, columns) })
			})
		},
	}
	f.add(c)
	c.Flags().IntVar(&limit, "limit", 20, "how many, at most 500")
	c.Flags().StringVar(&after, "after", "", "what the page before named as next")
	return c
}

func printExperiments(w io.Writer, out experimentList, columns []experiment.Field) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprint(t, "experiment")
	for _, f := range columns {
		fmt.Fprint(t, "\t"+f.Label())
	}
	fmt.Fprintln(t)
	for _, r := range out.Experiments {
		fmt.Fprint(t, r.ID)
		for _, f := range columns {
			text, ok := f.Text(r)
			if v, number := f.Any(r).(float64); number {
				text = fmt.Sprintf("%.4g", v)
			}
			if !ok {
				text = "-"
			}
			fmt.Fprint(t, "\t"+experiment.Clip(strings.Join(strings.Fields(text), " "), 60))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	if out.Next != "" {
		fmt.Fprintf(w, "and more: --after %s\n", out.Next)
	}
}

func newExperimentsShow(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "one of them, with its curves",
		Example: "  driftgate experiments show retrain-classifier-1f2e3d",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var r experiment.Record
				if err := c.Get(cmd.Context(), "/api/v1/experiments/"+url.PathEscape(args[0]), &r); err != nil {
					return err
				}
				return g.show(cmd, r, func(w io.Writer) { printExperiment(w, r) })
			})
		},
	}
}

func printExperiment(w io.Writer, r experiment.Record) {
	fmt.Fprintf(w, "%s  %s  %s\n", r.ID, r.Kind, strings.TrimSpace(r.State+" "+r.Verdict))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, text)
		}
	}
	line("started", r.StartedAt.UTC().Format(time.DateTime))
	if !r.FinishedAt.IsZero() {
		line("took", r.FinishedAt.Sub(r.StartedAt).Round(time.Second).String())
	}
	line("goes on from", r.Parent)
	line("model", r.Version.Short())
	line("error", r.Error)
	line("note", r.Note)
	for _, part := range []struct {
		name  string
		texts map[string]string
	}{{"tags", r.Tags}, {"params", r.Parameters}, {"env", r.Environment}} {
		for _, name := range slices.Sorted(maps.Keys(part.texts)) {
			line(part.name+"."+name, cmp.Or(part.texts[name], `""`))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		line("metrics."+name, fmt.Sprintf("%.6g", r.Metrics[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Curves)) {
		var points []string
		for _, p := range r.Curves[name] {
			points = append(points, fmt.Sprintf("%.4g", p.Value))
		}
		line("curve "+name, strings.Join(points, " "))
	}
	t.Flush()
}

func newExperimentsExport(g *global) *cobra.Command {
	var f experimentFlags
	var as string
	c := &cobra.Command{
		Use:   "export [FILE or FOLDER]",
		Short: "as CSV or JSON into a file, or as MLflow's file store into a folder",
		Long: `Writes a CSV or JSON file, or standard output when none is named. For MLflow
the folder gets mlruns/, which MLflow's clients and its page read; its newer
versions want to be told that they may:
  MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri FOLDER/mlruns

` + filterHelp,
		Example: "  driftgate experiments export --as csv runs.csv --filter kind=retrain\n  driftgate experiments export --as mlflow .",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to := ""
			if len(args) > 0 {
				to = args[0]
			}
			if as != "csv" && as != "json" && as != "mlflow" {
				return usageError{fmt.Errorf("--as %q: want csv, json or mlflow", as)}
			}
			if as == "mlflow" && to == "" {
				return usageError{fmt.Errorf("export --as mlflow: want a folder, in which mlruns will lie: %w", driftgate.ErrInvalid)}
			}
			to, err := absolute(to)
			if err != nil {
				return err
			}
			return g.with(cmd, func(c *app.Client) error { return g.export(cmd, c, f, as, to) })
		},
	}
	f.add(c)
	c.Flags().StringVar(&as, "as", "csv", "csv, json or mlflow")
	return c
}

// absolute makes a path independent of the working directory, which a gateway
// in this process changes.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

func (g *global) export(cmd *cobra.Command, c *app.Client, f experimentFlags, as, to string) (err error) {
	q := f.query()
	q.Set("as", as)
	if as == "mlflow" {
		q.Set("as", "json") // the layout is made here, where it is known where it lies
	}
	body, err := c.Do(cmd.Context(), http.MethodGet, "/api/v1/experiments/export?"+q.Encode(), "", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if as == "mlflow" {
		conf, _, err := g.load(nil)
		if err != nil {
			return err
		}
		root := (&url.URL{Scheme: "file", Path: filepath.ToSlash(to)}).String()
		return experiment.MLflow(experiment.ReadJSON(body), conf.Model, root, experiment.Folder(to))
	}
	if to == "" {
		_, err = io.Copy(cmd.OutOrStdout(), body)
		return err
	}
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, body)
	if e := file.Close(); err == nil {
		err = e
	}
	return err
}

func newExperimentsTag(g *global) *cobra.Command {
	var off []string
	c := &cobra.Command{
		Use:     "tag ID [NAME or NAME=VALUE]...",
		Short:   "put tags on one, or take them off",
		Example: "  driftgate experiments tag retrain-classifier-1f2e3d baseline supplier=new --off draft",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && len(off) == 0 {
				return usageError{fmt.Errorf("tag %s: want a tag to put on, or --off NAME", args[0])}
			}
			tags := map[string]string{}
			for _, a := range args[1:] {
				name, v, _ := strings.Cut(a, "=")
				tags[name] = v
			}
			return g.editExperiment(cmd, args[0], map[string]any{"tags": tags, "untag": append([]string{}, off...)})
		},
	}
	c.Flags().StringSliceVar(&off, "off", nil, "names of tags to take off")
	return c
}

func newExperimentsNote(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "note ID TEXT",
		Short:   "write a note on one, in the place of the one before",
		Example: `  driftgate experiments note retrain-classifier-1f2e3d "first with the new supplier"`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.editExperiment(cmd, args[0], map[string]any{"note": args[1]})
		},
	}
}

func (g *global) editExperiment(cmd *cobra.Command, id string, change map[string]any) error {
	return g.with(cmd, func(c *app.Client) error {
		var r experiment.Record
		if err := c.JSON(cmd.Context(), http.MethodPatch, "/api/v1/experiments/"+url.PathEscape(id), change, &r); err != nil {
			return err
		}
		return g.show(cmd, r, func(w io.Writer) { printExperiment(w, r) })
	})
}

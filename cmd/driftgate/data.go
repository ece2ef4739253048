package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"text/tabwriter"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/config"

	"github.com/spf13/cobra"
)

func newIngest(g *global) *cobra.Command {
	in := struct {
		Source string `json:"source"`
		Data   string `json:"data,omitempty"`
		Seed   uint64 `json:"seed"`
		Train  int    `json:"train"`
		Test   int    `json:"test"`
		Size   int    `json:"size,omitempty"`
	}{}
	c := &cobra.Command{
		Use:   "ingest SOURCE",
		Short: "check a dataset and store it in the datasets bucket",
		Long: `Checks a dataset (count, balance, decodability, size, duplicates, label set)
and stores it. A broken record stops the load with a report that names it;
nothing is stored then.

SOURCE is synthetic, fashion-mnist (--data: folder, s3://bucket/prefix, or the
URL of a mirror), or folder (--data: one folder a class, or Food-11 naming).`,
		Example: `  driftgate ingest synthetic --seed 1
  driftgate ingest fashion-mnist --data ~/fashion-mnist
  driftgate ingest folder --data ~/food --size 64`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Source = args[0]
			if in.Data != "" {
				if abs, err := filepath.Abs(in.Data); err == nil && dirExists(abs) {
					in.Data = abs // the gateway has another working directory
				}
			}
			return g.with(cmd, func(c *app.Client) error {
				var out struct {
					Dataset string   `json:"dataset"`
					Classes []string `json:"classes"`
					Train   int      `json:"train"`
					Test    int      `json:"test"`
					Notes   []string `json:"notes"`
				}
				if err := c.Post(cmd.Context(), "/api/v1/ingest", in, &out); err != nil {
					return err
				}
				return g.show(cmd, out, func(w io.Writer) {
					fmt.Fprintf(w, "%s: %d classes, %d training and %d test images\n", out.Dataset, len(out.Classes), out.Train, out.Test)
					for _, p := range out.Notes {
						fmt.Fprintln(w, "note:", p)
					}
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&in.Data, "data", "", "folder, s3://bucket/prefix or URL")
	f.Uint64Var(&in.Seed, "seed", 1, "seed of the synthetic set")
	f.IntVar(&in.Train, "train", 6000, "training images of the synthetic set")
	f.IntVar(&in.Test, "test", 2000, "test images of the synthetic set")
	f.IntVar(&in.Size, "size", 0, "height and width to which a folder's images are brought (default 64)")
	return c
}

func dirExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func newCurate(g *global) *cobra.Command {
	var interval, last string
	c := &cobra.Command{
		Use:     "curate",
		Short:   "pick samples of an interval for labelling",
		Example: "  driftgate curate --last 30m\n  driftgate curate --interval 2026-11-22T00:00:00Z/2026-11-22T06:00:00Z",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (interval == "") == (last == "") {
				return usageError{fmt.Errorf("want either --interval START/END or --last 30m")}
			}
			in := map[string]any{"last": last}
			if interval != "" {
				iv, err := driftgate.ParseInterval(interval)
				if err != nil {
					return err
				}
				in = map[string]any{"start": iv.Start, "end": iv.End}
			} else if _, err := config.ParseDuration(last); err != nil {
				return usageError{fmt.Errorf("--last %q: want a duration such as 30m", last)}
			}
			return g.report(cmd, "/api/v1/curate", in)
		},
	}
	c.Flags().StringVar(&interval, "interval", "", "START/END, RFC 3339, half-open")
	c.Flags().StringVar(&last, "last", "", "the span up to now")
	return c
}

func newCollect(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "collect",
		Short:   "bring answered label tasks into the clean and noisy buckets",
		Example: "  driftgate collect",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.report(cmd, "/api/v1/collect", nil) },
	}
}

func newLedger(g *global) *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "the index of the buckets"}
	c.AddCommand(newLedgerBackup(g), &cobra.Command{
		Use:     "rebuild",
		Short:   "make the index anew from the buckets",
		Example: "  driftgate ledger rebuild",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.report(cmd, "/api/v1/ledger/rebuild", nil) },
	})
	return c
}

// report posts to path and prints the answer's fields, or all of it as JSON.
func (g *global) report(cmd *cobra.Command, path string, in any) error {
	return g.with(cmd, func(c *app.Client) error {
		var out json.RawMessage
		if err := c.Post(cmd.Context(), path, in, &out); err != nil {
			return err
		}
		return g.show(cmd, out, func(w io.Writer) { printFields(w, out) })
	})
}

// printFields prints a flat JSON object as lines, in its own order.
func printFields(w io.Writer, raw json.RawMessage) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		fmt.Fprintf(w, "%s\n", raw)
		return
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, key := range keyOrder(raw) {
		value := string(fields[key])
		var text string
		if json.Unmarshal(fields[key], &text) == nil {
			value = text
		}
		fmt.Fprintf(t, "%s\t%s\n", key, value)
	}
	t.Flush()
}

// keyOrder lists the keys of a JSON object as they stand.
func keyOrder(raw json.RawMessage) []string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var keys []string
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return keys
		}
		key, ok := t.(string)
		if !ok {
			return keys
		}
		keys = append(keys, key)
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return keys
		}
	}
	return keys
}

func newLabels(g *global) *cobra.Command {
	c := &cobra.Command{Use: "labels", Short: "bring labels in and out as files"}
	var kind, annotator string
	imp := &cobra.Command{
		Use:     "import FILE",
		Short:   "import labels given elsewhere: columns id (or key) and label",
		Long:    "Imports labels from CSV (header: id or key, label, optionally annotator and\nlabelled_at) or a JSON array. All rows are checked first; a bad row stops the\nimport and is named with its line. FILE - is standard input.",
		Example: "  driftgate labels import labels.csv --annotator mia",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := io.Reader(os.Stdin)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return g.with(cmd, func(c *app.Client) error {
				q := url.Values{"format": {fileKind(kind, args[0])}, "annotator": {annotator}}
				body, err := c.Do(cmd.Context(), "POST", "/api/v1/labels/import?"+q.Encode(), "application/octet-stream", in)
				if err != nil {
					return err
				}
				defer body.Close()
				raw, err := io.ReadAll(body)
				if err != nil {
					return err
				}
				return g.show(cmd, json.RawMessage(raw), func(w io.Writer) { printFields(w, raw) })
			})
		},
	}
	imp.Flags().StringVar(&kind, "as", "", "csv or json (default by the file's name)")
	imp.Flags().StringVar(&annotator, "annotator", "import", "who gave the labels, where the file does not say")
	var outFile string
	exp := &cobra.Command{
		Use:     "export",
		Short:   "write all human labels as CSV or JSON",
		Example: "  driftgate labels export --output labels.csv",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format := fileKind(kind, outFile)
			if g.format == "json" {
				format = "json"
			}
			return g.fetch(cmd, "/api/v1/labels/export?format="+format, cmp.Or(outFile, "-"))
		},
	}
	exp.Flags().StringVar(&kind, "as", "", "csv or json (default by the file's name, else csv)")
	exp.Flags().StringVar(&outFile, "output", "", "file to write (default standard output)")
	c.AddCommand(imp, exp, newWithdraw(g))
	return c
}

func newWithdraw(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "withdraw ID...",
		Short:   "take back labels that were wrong; the images are asked about again",
		Long:    "Takes back collected labels, by the file names of their images (the accuracy\npage and labels export show them). Their objects leave the clean bucket, and a\npass over the buckets is started that takes them out of every window. Counters and closed slots of\nthe alarm stay as they are.",
		Example: "  driftgate labels withdraw 4f7c1f0a-9d0e-4d0f-8a53-0a6f2a1c9a77.png",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return g.with(cmd, func(c *app.Client) error {
				for _, id := range ids {
					if err := c.Post(cmd.Context(), "/api/v1/labels/withdraw", map[string]string{"id": id}, nil); err != nil {
						return err
					}
				}
				var started struct{ Run string }
				if err := c.Post(cmd.Context(), "/api/v1/runs", map[string]string{"pipeline": "reconcile"}, &started); err != nil {
					return fmt.Errorf("withdrawn, and the next pass over the buckets takes it out of the windows; none could be started now: %w", err)
				}
				return g.show(cmd, map[string]any{"withdrawn": ids, "run": started.Run}, func(w io.Writer) {
					fmt.Fprintf(w, "%d withdrawn; run %s takes them out of the windows\n", len(ids), started.Run)
				})
			})
		},
	}
}

func fileKind(kind, name string) string {
	switch {
	case kind != "":
		return kind
	case filepath.Ext(name) == ".json":
		return "json"
	}
	return "csv"
}

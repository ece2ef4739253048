package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/config"
	"driftgate/internal/network"
	"driftgate/internal/registry"

	"github.com/spf13/cobra"
)

func modelPath(ref, what string) string {
	return "/api/v1/models/" + url.PathEscape(ref) + "/" + what
}

func newModelShow(g *global) *cobra.Command {
	var graph string
	var report bool
	c := &cobra.Command{
		Use:   "show REF",
		Short: "one version: what it is, whether it is whole and who signed it; --onnx FILE writes it as ONNX",
		Long: `Shows one version and looks at it from its bytes on, as serving does. REF is
champion, previous, latest, a digest or its first four or more digits.
--report puts it to every suite instead, which may take half a minute the
first time. --onnx FILE writes it as ONNX (FILE - is standard output): uint8 pixels in,
probabilities out, preprocessing in metadata_props.`,
		Example: "  driftgate models show champion\n  driftgate models show 3f2a91 --onnx model.onnx",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if graph != "" {
				return g.fetch(cmd, modelPath(args[0], "onnx"), graph)
			}
			return g.with(cmd, func(c *app.Client) error {
				if report {
					return g.modelReport(cmd, c, args[0])
				}
				return g.showModel(cmd, c, args[0])
			})
		},
	}
	c.Flags().BoolVar(&report, "report", false, "how often it is right, on every suite, by class and slice")
	c.Flags().StringVar(&graph, "onnx", "", "file for the model as ONNX, - for standard output")
	return c
}

// showModel prints a version's entry of the list and what verifying it found.
func (g *global) showModel(cmd *cobra.Command, c *app.Client, short string) error {
	var out struct {
		Model        json.RawMessage       `json:"model"`
		Verification registry.Verification `json:"verification"`
	}
	if err := c.Get(cmd.Context(), modelPath(short, "verify"), &out.Verification); err != nil {
		return err
	}
	var all modelList
	if err := c.Get(cmd.Context(), "/api/v1/models", &all); err != nil {
		return err
	}
	for _, raw := range all.Models {
		var e struct{ Ref driftgate.ModelRef }
		if json.Unmarshal(raw, &e) == nil && e.Ref == out.Verification.Ref {
			out.Model = raw
		}
	}
	return g.show(cmd, out, func(w io.Writer) {
		var fields map[string]json.RawMessage
		if json.Unmarshal(out.Model, &fields) == nil { // nothing is listed of a manifest that cannot be read
			var saved struct {
				Role string    `json:"role"`
				At   time.Time `json:"saved_at"`
			}
			_ = json.Unmarshal(out.Model, &saved)
			fmt.Fprintf(w, "%s %s, saved %s\n", saved.Role, out.Verification.Ref, saved.At.UTC().Format(time.DateTime))
			printFields(w, fields["manifest"])
		}
		fmt.Fprintln(w)
		printVerifications(w, []registry.Verification{out.Verification})
	})
}

func newModelExport(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "export REF FILE",
		Short:   "write a version as one file for another installation, its signature included",
		Long:    "Writes a version as one file that driftgate models import reads, after its\ndigest and, where models.trusted_keys asks for one, its signature were checked.\nFILE - is standard output.",
		Example: "  driftgate models export champion model.tar\n  driftgate models export 3f2a91 - | ssh elsewhere driftgate models import -",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.fetch(cmd, modelPath(args[0], "export"), args[1])
		},
	}
}

// fetch writes what the gateway answers to a file that is whole or not there,
// or to standard output.
func (g *global) fetch(cmd *cobra.Command, path, file string) error {
	if file != "-" {
		// A gateway that is started for this command changes the directory.
		abs, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		file = abs
	}
	return g.with(cmd, func(c *app.Client) error {
		body, err := c.Do(cmd.Context(), "GET", path, "", nil)
		if err != nil {
			return err
		}
		defer body.Close()
		if file == "-" {
			_, err = io.Copy(cmd.OutOrStdout(), body)
			return err
		}
		return replace(file, body)
	})
}

// replace writes a file beside its place and moves it there when it is whole.
func replace(file string, from io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

func newModelImport(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "import FILE",
		Short:   "take in a version that another installation has exported",
		Long:    "Stores a version that driftgate models export wrote; one that is there already\nis no error. A file that is altered, cut off or of a newer format is refused, and\nso is one without a trusted signature where models.trusted_keys asks for one.\nNothing is promoted. FILE - is standard input.",
		Example: "  driftgate models import model.tar",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return g.with(cmd, func(c *app.Client) error {
				body, err := c.Do(cmd.Context(), "POST", "/api/v1/models/import", "application/x-tar", in)
				if err != nil {
					return err
				}
				defer body.Close()
				var out struct {
					Ref     driftgate.ModelRef `json:"ref"`
					Version string             `json:"version"`
				}
				if err := json.NewDecoder(body).Decode(&out); err != nil {
					return err
				}
				return g.show(cmd, out, func(w io.Writer) {
					fmt.Fprintf(w, "imported %s; compare it with driftgate compare champion %s\n", out.Version, out.Version)
				})
			})
		},
	}
}

func newModelVerify(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "verify [REF...]",
		Short:   "look at versions from their bytes on: digest, signature, self-test; exit code 1 unless all are fine",
		Example: "  driftgate models verify             # every version\n  driftgate models verify champion",
		RunE: func(cmd *cobra.Command, refs []string) error {
			return g.with(cmd, func(c *app.Client) error {
				if len(refs) == 0 {
					var all struct{ Models []struct{ Ref string } }
					if err := c.Get(cmd.Context(), "/api/v1/models", &all); err != nil {
						return err
					}
					for _, m := range all.Models {
						refs = append(refs, m.Ref)
					}
				}
				found, bad := []registry.Verification{}, 0
				for _, ref := range refs {
					var v registry.Verification
					if err := c.Get(cmd.Context(), modelPath(ref, "verify"), &v); err != nil {
						return err
					}
					if found = append(found, v); !v.OK {
						bad++
					}
				}
				if err := g.show(cmd, found, func(w io.Writer) { printVerifications(w, found) }); err != nil {
					return err
				}
				if bad > 0 {
					return fmt.Errorf("%d of %d versions would not be loaded", bad, len(found))
				}
				return nil
			})
		},
	}
}

func printVerifications(w io.Writer, all []registry.Verification) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "version\twhole\tsignature\tkey")
	for _, v := range all {
		whole := "yes"
		if !v.OK {
			whole = "NO"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Ref.Short(), whole, v.Signature, v.KeyID)
	}
	t.Flush()
	for _, v := range all {
		if !v.OK {
			fmt.Fprintf(w, "%s: %s\n", v.Ref.Short(), v.Problem)
		}
	}
}

func newModelSign(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "sign REF",
		Short:   "vouch for a version with models.signing_key, in place of the signature it had",
		Example: "  driftgate models sign 3f2a91",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var v registry.Verification
				if err := c.Post(cmd.Context(), modelPath(args[0], "sign"), nil, &v); err != nil {
					return err
				}
				return g.show(cmd, v, func(w io.Writer) { printVerifications(w, []registry.Verification{v}) })
			})
		},
	}
}

func newModelKeygen() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "make a signing key: FILE for models.signing_key, FILE.pub for models.trusted_keys",
		Long: `Writes an Ed25519 key pair as PEM (PKCS 8 and PKIX). openssl does the same:
  openssl genpkey -algorithm ed25519 -out FILE
  openssl pkey -in FILE -pubout -out FILE.pub
A file that exists is not overwritten.`,
		Example: "  driftgate models keygen signing.pem",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			private, public, err := network.NewSigningKey()
			if err != nil {
				return err
			}
			for _, file := range []struct {
				path string
				text []byte
				mode fs.FileMode
			}{{args[0], private, 0o600}, {args[0] + ".pub", public, 0o644}} {
				f, err := os.OpenFile(file.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, file.mode)
				if err != nil {
					return err
				}
				if _, err := f.Write(file.text); err != nil {
					return errors.Join(err, f.Close())
				}
				if err := f.Close(); err != nil {
					return err
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: keep it secret, name it in models.signing_key\n%s.pub: name it in models.trusted_keys, here and wherever these models are imported\n", args[0], args[0])
			return nil
		},
	}
}

func newModelPrune(g *global) *cobra.Command {
	var keep, generations int
	var younger string
	var dry bool
	c := &cobra.Command{
		Use:   "prune",
		Short: "delete versions that nobody needs; --dry-run says which",
		Long: `Deletes old versions. The champion, the one before it, both sides of an exposure
and the champions of the last --generations stay, and of the others the newest
--keep and those younger than --younger. What is not given comes from models.keep,
models.keep_for and models.keep_generations.`,
		Example: "  driftgate models prune --keep 10 --dry-run\n  driftgate models prune --keep 10 --younger 7d",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]any{"dry_run": dry, "keep": keep, "generations": generations}
			if younger != "" {
				d, err := config.ParseDuration(younger)
				if err != nil {
					return usageError{fmt.Errorf("--younger %q: want a duration such as 36h or 7d", younger)}
				}
				in["younger"] = d.Round(time.Second).String()
			}
			return g.with(cmd, func(c *app.Client) error {
				var out struct {
					Deleted []driftgate.ModelRef `json:"deleted"`
					DryRun  bool                 `json:"dry_run"`
				}
				if err := c.Post(cmd.Context(), "/api/v1/models/prune", in, &out); err != nil {
					return err
				}
				return g.show(cmd, out, func(w io.Writer) {
					did := "deleted"
					if out.DryRun {
						did = "would delete"
					}
					var names []string
					for _, ref := range out.Deleted {
						names = append(names, ref.Short())
					}
					fmt.Fprintf(w, "%s %d versions %s\n", did, len(names), strings.Join(names, " "))
				})
			})
		},
	}
	f := c.Flags()
	f.IntVar(&keep, "keep", 0, "newest versions that stay (default models.keep)")
	f.StringVar(&younger, "younger", "", "versions younger than this stay, such as 7d (default models.keep_for)")
	f.IntVar(&generations, "generations", 0, "champions of so many generations stay (default models.keep_generations)")
	f.BoolVar(&dry, "dry-run", false, "say what would go, delete nothing")
	return c
}

// Package lint holds the house to its own plan: docs/architecture.md.
package lint

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

// floors is the table of docs/architecture.md. A package imports lower floors
// only, never its own; nested packages live on their parent's floor, and may
// be imported by it only where nested says so.
var floors = map[string]int{
	"": 0, "internal/telemetry": 0,
	"internal/estimate": 1, "internal/objstore": 1, "internal/ledger": 1, "internal/dataset": 1, "internal/onnx": 1, "internal/kernel": 1,
	"internal/network": 2, "internal/rollout": 2, "internal/experiment": 2, "internal/simulate": 2, "internal/catalog": 2, "internal/trigger": 2,
	"metrics": 3, "trainer": 3, "evaluator": 3, "alerts": 3, "dashboards": 3,
	"internal/registry": 3, "internal/serving": 3, "internal/labelling": 3,
	"internal/pipeline": 4, "internal/web": 4,
	"internal/engine": 5,
	"internal/config": 6,
	"internal/app":    7,
	"internal/demo":   8,
	"cmd/driftgate":   9,
}

// homes says which packages may import a vendor library. client_golang is
// welcome from floor 1 and has no entry.
var homes = map[string][]string{
	"github.com/minio/minio-go/v7":             {"internal/objstore"},
	"github.com/versity/versitygw":             {"internal/objstore/embedded"},
	"modernc.org/sqlite":                       {"internal/ledger"},
	"github.com/jackc/pgx/v5":                  {"internal/ledger"},
	"github.com/pressly/goose/v3":              {"internal/ledger"},
	"golang.org/x/image":                       {"internal/dataset"},
	"gorgonia.org/gorgonia":                    {"internal/network"},
	"gorgonia.org/tensor":                      {"internal/network"},
	"github.com/cactus/go-statsd-client/v5":    {"metrics"},
	"github.com/robfig/cron/v3":                {"internal/pipeline"},
	"github.com/gin-gonic/gin":                 {"internal/web"},
	"github.com/danielgtaylor/huma/v2":         {"internal/web"},
	"github.com/dbos-inc/dbos-transact-golang": {"internal/engine"},
	"github.com/goccy/go-yaml":                 {"internal/config", "alerts"},
	"github.com/oklog/run":                     {"internal/app"},
	"go.opentelemetry.io/otel":                 {"internal/telemetry"},
	"go.opentelemetry.io/proto/otlp":           {"internal/telemetry"},
	"google.golang.org/protobuf":               {"internal/telemetry", "internal/onnx"},
	"github.com/prometheus/exporter-toolkit":   {"internal/app"},
	"go.yaml.in/yaml/v2":                       {"internal/app"},
	"golang.org/x/crypto":                      {"internal/app"},
	"github.com/spf13/cobra":                   {"cmd/driftgate"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "driftgate/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func inside(importPath string) (string, bool) {
	if importPath == "driftgate" {
		return "", true
	}
	return strings.CutPrefix(importPath, "driftgate/")
}

// room returns the package of the table that p is, or is nested in.
func room(p string) (string, bool) {
	for q := p; q != "."; q = path.Dir(q) {
		if _, ok := floors[q]; ok {
			return q, true
		}
	}
	return "", false
}

func TestPackagesImportLowerFloorsOnly(t *testing.T) {
	all := packages(t)
	if len(all) < 2 {
		t.Fatalf("go list found %d packages: the test would prove nothing", len(all))
	}
	for _, p := range all {
		name, _ := inside(p.ImportPath)
		if name == "internal/lint" {
			continue
		}
		here, ok := room(name)
		if !ok {
			t.Errorf("%s is in no room of the table: give it a floor here and in docs/architecture.md", name)
			continue
		}
		for _, imp := range p.Imports {
			other, ok := inside(imp)
			if !ok {
				continue
			}
			there, ok := room(other)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no floor", name, other)
			case there == here: // a nested package and its parent
			case floors[there] >= floors[here]:
				t.Errorf("%s (floor %d) imports %s (floor %d)", name, floors[here], other, floors[there])
			}
		}
	}
}

func TestEveryVendorLibraryHasOneHome(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := inside(p.ImportPath)
		for _, imp := range p.Imports {
			for lib, owners := range homes {
				if imp != lib && !strings.HasPrefix(imp, lib+"/") {
					continue
				}
				if !ownedBy(name, owners) {
					t.Errorf("%s imports %s, whose home is %v", name, imp, owners)
				}
			}
		}
	}
}

func ownedBy(name string, owners []string) bool {
	for _, o := range owners {
		if name == o || strings.HasPrefix(name, o+"/") {
			return true
		}
	}
	return false
}

package experiment

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MLflow writes records in the layout of MLflow's file store, which `mlflow ui`
// and its clients read: a folder for the experiment, which is the model, and in
// it one for each run with meta.yaml, params, metrics, tags and artifacts. put
// gets each file's name, which begins with "mlruns/", and its body, and for each
// folder its name with "/" at the end: MLflow wants the empty ones too. root is
// where the first folder will lie, as a URI, for the artifacts' addresses; empty for
// addresses relative to where mlflow is started.
//
// The same record gives the same files. A run's id is made of the record's, as
// MLflow allows no dots in it; the record's own is the run's name. A curve's
// points become a metric's history, the final figure its last value. An
// evaluation lies below the training that it judges.
func MLflow(records iter.Seq2[Record, error], model, root string, put func(name string, body []byte) error) error {
	m := mlflow{put: put, root: root, experiment: experimentID(model)}
	first, last := time.Time{}, time.Time{}
	for r, err := range records {
		if err != nil {
			return err
		}
		if first.IsZero() || r.StartedAt.Before(first) {
			first = r.StartedAt
		}
		if last.Before(r.StartedAt) {
			last = r.StartedAt
		}
		if err := m.run(r); err != nil {
			return fmt.Errorf("experiment: write %s for MLflow: %w", r.ID, err)
		}
	}
	base := path.Join("mlruns", m.experiment)
	err := put(path.Join(base, "meta.yaml"), yaml(
		"artifact_location", m.uri(base), "creation_time", millis(first), "experiment_id", m.experiment, "last_update_time", millis(last),
		"lifecycle_stage", "active", "name", model))
	if err != nil {
		return fmt.Errorf("experiment: write for MLflow: %w", err)
	}
	return nil
}

type mlflow struct {
	put              func(name string, body []byte) error
	root, experiment string
}

func (m mlflow) uri(name string) string {
	if m.root == "" {
		return name
	}
	return strings.TrimSuffix(m.root, "/") + "/" + name
}

// MLflowRun is the id of a record's run: MLflow's have 32 hex digits.
func MLflowRun(id string) string {
	sum := sha256.Sum256([]byte("driftgate experiment\x00" + id))
	return hex.EncodeToString(sum[:16])
}

// experimentID is a number of 18 digits, as MLflow gives them.
func experimentID(model string) string {
	sum := sha256.Sum256([]byte("driftgate model\x00" + model))
	return strconv.FormatUint(1e17+binary.BigEndian.Uint64(sum[:])%(9e17), 10)
}

// MLflow's numbers for the states of a run.
var mlflowStatus = map[string]int64{Running: 1, Done: 3, Failed: 4, Cancelled: 5}

func (m mlflow) run(r Record) error {
	id := MLflowRun(r.ID)
	base := path.Join("mlruns", m.experiment, id)
	end := any(nil)
	if !r.FinishedAt.IsZero() {
		end = millis(r.FinishedAt)
	}
	err := m.put(path.Join(base, "meta.yaml"), yaml(
		"artifact_uri", m.uri(path.Join(base, "artifacts")), "end_time", end, "entry_point_name", "", "experiment_id", m.experiment,
		"lifecycle_stage", "active", "run_id", id, "run_name", r.ID, "run_uuid", id, "source_name", "", "source_type", int64(4), "source_version", "",
		"start_time", millis(r.StartedAt), "status", mlflowStatus[r.State], "tags", []string{}, "user_id", "driftgate"))
	if err != nil {
		return err
	}
	for _, folder := range []string{"artifacts", "metrics", "params", "tags"} {
		if err := m.put(path.Join(base, folder)+"/", nil); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		if err := m.put(path.Join(base, "params", name), []byte(oneLine(r.Parameters[name]))); err != nil {
			return err
		}
	}
	if err := m.metrics(r, base); err != nil {
		return err
	}
	tags := m.tags(r)
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if err := m.put(path.Join(base, "tags", name), []byte(tags[name])); err != nil {
			return err
		}
	}
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return m.put(path.Join(base, "artifacts", "record.json"), append(body, '\n'))
}

// metrics writes one file a metric, one line a point: milliseconds, value, step.
func (m mlflow) metrics(r Record, base string) error {
	lines := map[string]string{}
	line := func(name string, at time.Time, v float64, step int) {
		lines[name] += fmt.Sprintf("%d %s %d\n", millis(at), strconv.FormatFloat(v, 'g', -1, 64), step)
	}
	at := r.FinishedAt
	if at.IsZero() {
		at = r.StartedAt
	}
	for name, curve := range r.Curves {
		for _, p := range curve {
			when := p.At
			if when.IsZero() {
				when = r.StartedAt
			}
			line(name, when, p.Value, p.Step)
		}
	}
	for name, v := range r.Metrics {
		step, when := 0, at
		if curve := r.Curves[name]; len(curve) > 0 {
			// MLflow shows the largest step, and of that the latest.
			step = curve[len(curve)-1].Step
			if last := curve[len(curve)-1].At; !when.After(last) {
				when = last.Add(time.Millisecond)
			}
		}
		line(name, when, v, step)
	}
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		if err := m.put(path.Join(base, "metrics", name), []byte(lines[name])); err != nil {
			return err
		}
	}
	return nil
}

func (m mlflow) tags(r Record) map[string]string {
	tags := map[string]string{}
	set := func(name, v string) {
		if v != "" {
			tags[name] = v
		}
	}
	for name, v := range r.Environment {
		set("driftgate.env."+name, v)
	}
	for name, v := range r.Tags { // a person's own may not stand for ours
		if !strings.HasPrefix(name, "mlflow.") && !strings.HasPrefix(name, "driftgate.") {
			tags[name] = v
		}
	}
	set("driftgate.kind", r.Kind)
	set("driftgate.parent", r.Parent)
	set("driftgate.version", string(r.Version))
	set("driftgate.verdict", r.Verdict)
	set("driftgate.run", r.RunID)
	set("driftgate.error", r.Error)
	set("mlflow.runName", r.ID)
	set("mlflow.user", "driftgate")
	set("mlflow.source.type", "JOB")
	set("mlflow.source.name", "driftgate "+r.Kind)
	set("mlflow.note.content", r.Note)
	if r.Parent != "" && (r.Kind == Evaluation || r.Kind == Trial) {
		set("mlflow.parentRunId", MLflowRun(r.Parent))
	}
	return tags
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// yaml writes a flat document of keys and values; what JSON writes of a value is
// YAML too.
func yaml(pairs ...any) []byte {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		text := []byte("null")
		if pairs[i+1] != nil {
			var err error
			if text, err = json.Marshal(pairs[i+1]); err != nil {
				text = []byte("null") // there is no such value here
			}
		}
		fmt.Fprintf(&b, "%s: %s\n", pairs[i], text)
	}
	return []byte(b.String())
}

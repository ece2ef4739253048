package labelling

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"strconv"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// The forms of exported and imported labels.
const (
	CSV  = "csv"
	JSON = "json"
)

func checkFormat(format string) error {
	if format != CSV && format != JSON {
		return fmt.Errorf("format %q: want %s or %s: %w", format, CSV, JSON, dg.ErrInvalid)
	}
	return nil
}

// exported is one labelled sample; its JSON names are the CSV's columns.
type exported struct {
	ID               string         `json:"id"`
	Key              string         `json:"key"`
	PredictedClass   string         `json:"predicted_class"`
	Confidence       *float64       `json:"confidence"` // null when the model gave none
	Timestamp        time.Time      `json:"timestamp"`
	Label            string         `json:"label"`
	LabelledAt       time.Time      `json:"labelled_at,omitzero"`
	LabelSource      dg.LabelSource `json:"label_source"`
	Stratum          dg.Stratum     `json:"stratum"`
	SamplingFraction float64        `json:"sampling_fraction"` // 0: not picked by driftgate
	ModelVersion     string         `json:"model_version"`
	Correct          bool           `json:"correct"`
	Votes            string         `json:"votes"` // "2/3": two of three people named the model's class; empty: one person answered
}

var exportColumns = []string{"id", "key", "predicted_class", "confidence", "timestamp", "label", "labelled_at", "label_source",
	"stratum", "sampling_fraction", "model_version", "correct", "votes"}

func exportedOf(r ledger.Record) exported {
	e := exported{ID: r.ID(), Key: r.Key, PredictedClass: r.PredictedClass, Timestamp: r.Timestamp, Label: r.Label,
		LabelledAt: r.LabelledAt, LabelSource: r.LabelSource, Stratum: r.Stratum, SamplingFraction: r.SamplingFraction,
		ModelVersion: r.ModelVersion, Correct: r.Correct()}
	if r.Votes.Of > 0 {
		e.Votes = fmt.Sprintf("%d/%d", r.Votes.Agree, r.Votes.Of)
	}
	if !math.IsNaN(r.Confidence) {
		e.Confidence = &r.Confidence
	}
	return e
}

func (e exported) row() []string {
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	var confidence, labelledAt string
	if e.Confidence != nil {
		confidence = number(*e.Confidence)
	}
	if !e.LabelledAt.IsZero() {
		labelledAt = e.LabelledAt.UTC().Format(time.RFC3339)
	}
	return []string{e.ID, e.Key, e.PredictedClass, confidence, e.Timestamp.UTC().Format(time.RFC3339), e.Label, labelledAt,
		string(e.LabelSource), string(e.Stratum), number(e.SamplingFraction), e.ModelVersion, strconv.FormatBool(e.Correct), e.Votes}
}

// Export writes every labelled sample, oldest first, as CSV with a header or as
// a JSON array, and returns how many. What it writes can be imported.
func (s *Service) Export(ctx context.Context, w io.Writer, format string) (int, error) {
	if err := checkFormat(format); err != nil {
		return 0, fmt.Errorf("labelling: export: %w", err)
	}
	write := writeCSV
	if format == JSON {
		write = writeJSON
	}
	n, err := write(w, s.ledger.Labelled(ctx, dg.Interval{End: endOfTime}))
	if err != nil {
		return 0, fmt.Errorf("labelling: export: %w", err)
	}
	return n, nil
}

func writeCSV(w io.Writer, records iter.Seq2[ledger.Record, error]) (n int, err error) {
	out := csv.NewWriter(w)
	if err := out.Write(exportColumns); err != nil {
		return 0, err
	}
	for r, err := range records {
		if err == nil {
			err = out.Write(exportedOf(r).row())
		}
		if err != nil {
			return n, err
		}
		n++
	}
	out.Flush()
	return n, out.Error()
}

func writeJSON(w io.Writer, records iter.Seq2[ledger.Record, error]) (n int, err error) {
	out := bufio.NewWriter(w)
	separator := "[\n"
	for r, err := range records {
		if err != nil {
			return n, err
		}
		b, err := json.Marshal(exportedOf(r))
		if err != nil {
			return n, err
		}
		fmt.Fprintf(out, "%s%s", separator, b) // Flush reports the error
		separator = ",\n"
		n++
	}
	if n == 0 {
		fmt.Fprint(out, "[")
	}
	fmt.Fprint(out, "\n]\n")
	return n, out.Flush()
}

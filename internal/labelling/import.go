package labelling

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Limits of an import.
const (
	maxImportBytes = 64 << 20
	maxImportRows  = 200_000
	maxClockAhead  = time.Minute // labelled_at may lie in the future by this much
)

// ImportReport says what an import did.
type ImportReport struct {
	Rows     int      `json:"rows"`
	Imported int      `json:"imported"` // new answers, waiting to be collected
	Already  int      `json:"already"`  // the same label was there before
	Bad      []BadRow `json:"bad,omitempty"`
}

// BadRow is one row that cannot be imported, and why.
type BadRow struct {
	Line    int    `json:"line"` // from 1; a CSV's header is line 1
	ID      string `json:"id,omitempty"`
	Problem string `json:"problem"`
}

// imported is one row before it is checked.
type imported struct {
	line                                  int
	ID, Key, Label, Annotator, labelledAt string
}

// Import takes labels as answers, to be collected like any other: a CSV whose
// header has id or key, label, and perhaps annotator and labelled_at (RFC
// 3339), or a JSON array of objects with the same names; more columns are
// ignored, so an export can be imported. annotator is for rows without one,
// and a missing labelled_at is now.
//
// Each row is one person's answer, so where several people are asked about each
// sample a file may have several rows about it, by different annotators. Only
// samples that wait for a label are taken: what nobody picked would bias the
// estimate. Every row is checked before anything is written; if one is
// bad, all bad rows are reported with their line, nothing is imported, and the
// error is [driftgate.ErrInvalid]. The same import again changes nothing.
func (s *Service) Import(ctx context.Context, r io.Reader, format, annotator string) (ImportReport, error) {
	var report ImportReport
	err := errors.Join(checkFormat(format), checkAnnotator(annotator))
	if err == nil {
		err = s.importLabels(ctx, r, format, annotator, &report)
	}
	if err != nil {
		return report, fmt.Errorf("labelling: import: %w", err)
	}
	return report, nil
}

func (s *Service) importLabels(ctx context.Context, r io.Reader, format, annotator string, report *ImportReport) error {
	b, err := io.ReadAll(io.LimitReader(r, maxImportBytes+1))
	if err != nil {
		return err
	}
	if len(b) > maxImportBytes {
		return fmt.Errorf("more than %d bytes: import in parts: %w", maxImportBytes, dg.ErrInvalid)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // spreadsheets write it
	read := readCSV
	if format == JSON {
		read = readJSON
	}
	rows, bad, err := read(b)
	if err != nil {
		return fmt.Errorf("%w: %w", err, dg.ErrInvalid)
	}
	report.Rows, report.Bad = len(rows)+len(bad), bad
	answers, err := s.checkRows(ctx, rows, annotator, report)
	if err != nil {
		return err
	}
	if n := len(report.Bad); n > 0 {
		slices.SortStableFunc(report.Bad, func(a, b BadRow) int { return a.Line - b.Line })
		report.Already = 0
		first := report.Bad[0]
		return fmt.Errorf("%d of %d rows are bad, the first on line %d: %s; nothing was imported: %w", n, report.Rows, first.Line, first.Problem, dg.ErrInvalid)
	}
	return s.writeAnswers(ctx, answers, report)
}

// checkRows turns rows into answers and adds every fault to the report.
func (s *Service) checkRows(ctx context.Context, rows []imported, annotator string, report *ImportReport) ([]ledger.Answer, error) {
	ids := make([]string, len(rows))
	for i := range rows {
		if rows[i].ID == "" && rows[i].Key != "" {
			rows[i].ID = path.Base(rows[i].Key)
		}
		ids[i] = rows[i].ID
	}
	records, err := s.ledger.Records(ctx, ids...)
	if err != nil {
		return nil, err
	}
	given, err := s.ledger.AnswersOf(ctx, ids...)
	if err != nil {
		return nil, err
	}
	classes, now := s.o.Classes(), s.o.Now().UTC()
	seen := map[[2]string]int{} // line, by sample and annotator
	var answers []ledger.Answer
	for _, row := range rows {
		a, problem := checkRow(row, annotator, now, classes, records)
		if line, ok := seen[[2]string{a.ID, a.Annotator}]; ok && problem == "" {
			problem = fmt.Sprintf("the same sample as on line %d", line)
		}
		seen[[2]string{a.ID, a.Annotator}] = row.line
		already := records[a.ID].State == ledger.Labelled
		if problem == "" && !already {
			already, problem = s.checkPoll(given[a.ID], a)
		}
		switch {
		case problem != "":
			report.Bad = append(report.Bad, BadRow{row.line, row.ID, problem})
		case already:
			report.Already++
		default:
			answers = append(answers, a)
			given[a.ID] = withAnswer(given[a.ID], a)
		}
	}
	return answers, nil
}

// checkPoll says what is wrong with one more answer about a sample, and
// whether there is no news in it.
func (s *Service) checkPoll(given []ledger.Answer, a ledger.Answer) (already bool, problem string) {
	if own, ok := answerOf(given, a.Annotator); ok {
		return own.Label == a.Label, ""
	}
	if len(given) == 0 || wanted(given, s.o.quorum()) > 0 {
		return false, ""
	}
	if label := count(given, "").Label; label != a.Label {
		return false, fmt.Sprintf("answered %q already by as many people as are asked", label)
	}
	return true, ""
}

// checkRow returns the row's answer, or what is wrong with it.
func checkRow(row imported, annotator string, now time.Time, classes dg.Classes, records map[string]ledger.Record) (a ledger.Answer, problem string) {
	a = ledger.Answer{ID: row.ID, Label: row.Label, Annotator: row.Annotator, Source: dg.HumanLabel, At: now}
	if a.Annotator == "" {
		a.Annotator = annotator
	}
	if row.ID == "" {
		return a, "no id and no key: want one of them"
	}
	if row.Key != "" && path.Base(row.Key) != row.ID {
		return a, fmt.Sprintf("id %q and key %q are not the same sample", row.ID, row.Key)
	}
	if classes.Index(row.Label) < 0 {
		return a, fmt.Sprintf("label %q: want one of %q", row.Label, []string(classes))
	}
	if err := checkAnnotator(a.Annotator); err != nil {
		return a, err.Error()
	}
	if row.labelledAt != "" {
		at, err := time.Parse(time.RFC3339, row.labelledAt)
		if err != nil || at.After(now.Add(maxClockAhead)) {
			return a, fmt.Sprintf("labelled_at %q: want a time in RFC 3339, not in the future, such as %s", row.labelledAt, now.Format(time.RFC3339))
		}
		a.At = at.UTC()
	}
	r, known := records[row.ID]
	switch {
	case !known:
		return a, "no such sample"
	case r.State == ledger.Labelled && r.Label != row.Label:
		return a, fmt.Sprintf("labelled %q already", r.Label)
	case r.State != ledger.Labelled && r.State != ledger.Waiting:
		return a, "the sample was not picked for labelling, and its label would bias the estimate"
	}
	return a, ""
}

// writeAnswers records the answers; when one fails, those before it are taken
// back.
func (s *Service) writeAnswers(ctx context.Context, answers []ledger.Answer, report *ImportReport) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, len(answers))
	for i, a := range answers {
		ids[i] = a.ID
	}
	before, err := s.ledger.AnswersOf(ctx, ids...)
	if err != nil {
		return err
	}
	for i, a := range answers {
		if err := s.ledger.Answer(ctx, a); err != nil {
			return errors.Join(err, s.takeBack(ctx, answers[:i], before))
		}
		s.release(a.ID, a.Annotator)
	}
	report.Imported = len(answers)
	return nil
}

// takeBack undoes the answers just written. s.mu is held.
func (s *Service) takeBack(ctx context.Context, written []ledger.Answer, before map[string][]ledger.Answer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for _, a := range written {
		if old, ok := answerOf(before[a.ID], a.Annotator); ok {
			errs = append(errs, s.ledger.Answer(ctx, old))
			continue
		}
		errs = append(errs, s.ledger.Unanswer(ctx, a.ID, a.Annotator))
	}
	return joinFew(errs)
}

// readCSV reads rows by the names in the header. Rows that are no CSV are
// bad; err is for a file without a usable header.
func readCSV(b []byte) (rows []imported, bad []BadRow, err error) {
	in := csv.NewReader(bytes.NewReader(b))
	header, err := in.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("line 1: no header: want id or key, label, and perhaps annotator, labelled_at: %w", err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[strings.ToLower(strings.TrimSpace(name))] = i
	}
	_, hasID := column["id"]
	_, hasKey := column["key"]
	if _, hasLabel := column["label"]; !hasLabel || (!hasID && !hasKey) {
		return nil, nil, fmt.Errorf("line 1: header %q: want id or key, label, and perhaps annotator, labelled_at", header)
	}
	for len(rows)+len(bad) <= maxImportRows {
		fields, err := in.Read()
		if errors.Is(err, io.EOF) {
			return rows, bad, nil
		}
		if err != nil {
			var fault *csv.ParseError
			if !errors.As(err, &fault) {
				return nil, nil, err
			}
			bad = append(bad, BadRow{Line: fault.StartLine, Problem: fmt.Sprintf("%v: want %d columns as in the header", fault.Err, len(header))})
			continue
		}
		field := func(name string) string {
			if i, ok := column[name]; ok {
				return strings.TrimSpace(fields[i])
			}
			return ""
		}
		line, _ := in.FieldPos(0)
		rows = append(rows, imported{line, field("id"), field("key"), field("label"), field("annotator"), field("labelled_at")})
	}
	return nil, nil, fmt.Errorf("more than %d rows: import in parts", maxImportRows)
}

// readJSON reads an array of objects. Objects that do not fit are bad; err is
// for text that is no JSON array.
func readJSON(b []byte) (rows []imported, bad []BadRow, err error) {
	in := json.NewDecoder(bytes.NewReader(b))
	counted, lines := 0, 1 // lines begun within b[:counted]
	line := func() int {
		at := int(in.InputOffset())
		for at < len(b) && strings.IndexByte(" \t\r\n,", b[at]) >= 0 {
			at++
		}
		lines += bytes.Count(b[counted:at], []byte("\n"))
		counted = at
		return lines
	}
	if open, err := in.Token(); err != nil || open != json.Delim('[') {
		return nil, nil, errors.New("want a JSON array of objects with id or key, and label")
	}
	for in.More() {
		if len(rows)+len(bad) >= maxImportRows {
			return nil, nil, fmt.Errorf("more than %d rows: import in parts", maxImportRows)
		}
		at := line()
		var raw json.RawMessage
		if err := in.Decode(&raw); err != nil {
			return nil, nil, fmt.Errorf("line %d: no JSON: %w", line(), err)
		}
		var row struct {
			ID         string `json:"id"`
			Key        string `json:"key"`
			Label      string `json:"label"`
			Annotator  string `json:"annotator"`
			LabelledAt string `json:"labelled_at"`
		}
		if err := json.Unmarshal(raw, &row); err != nil {
			bad = append(bad, BadRow{Line: at, Problem: misfit(err) + ": want an object with text for id or key, and label"})
			continue
		}
		rows = append(rows, imported{at, row.ID, row.Key, row.Label, row.Annotator, row.LabelledAt})
	}
	if _, err := in.Token(); err != nil {
		return nil, nil, fmt.Errorf("line %d: the array does not end: %w", line(), err)
	}
	return rows, bad, nil
}

// misfit says what is wrong with an element in words of JSON.
func misfit(err error) string {
	var fault *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &fault):
		return err.Error()
	case fault.Field == "":
		return "a " + fault.Value
	}
	return fault.Field + " is a " + fault.Value
}

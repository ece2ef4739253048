package experiment

import (
	"archive/zip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CSV writes records as a table (RFC 4180) with a head. No columns means every
// field that any of them has. A text that a spreadsheet would take for a formula
// gets a ' before it.
func CSV(w io.Writer, records iter.Seq2[Record, error], columns []Field) error {
	var all []Record
	for r, err := range records {
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	if len(columns) == 0 {
		columns = Fields(all)
	}
	c := csv.NewWriter(w)
	row := make([]string, len(columns))
	for i, f := range columns {
		row[i] = f.String()
	}
	err := c.Write(row)
	for _, r := range all {
		for i, f := range columns {
			text, _ := f.Text(r)
			if f == (Field{"", "version"}) { // whole, where it is a key
				text = string(r.Version)
			}
			row[i] = plainCell(text)
		}
		err = errors.Join(err, c.Write(row))
	}
	c.Flush()
	if err = errors.Join(err, c.Error()); err != nil {
		return fmt.Errorf("experiment: write CSV: %w", err)
	}
	return nil
}

func plainCell(text string) string {
	if text == "" || !strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}

// JSON writes records as one array, one record a line.
func JSON(w io.Writer, records iter.Seq2[Record, error]) error {
	before := "[\n"
	for r, err := range records {
		if err != nil {
			return err
		}
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("experiment: write JSON: %w", err)
		}
		if _, err := io.WriteString(w, before+string(b)); err != nil {
			return fmt.Errorf("experiment: write JSON: %w", err)
		}
		before = ",\n"
	}
	if before == "[\n" {
		before = "["
	}
	if _, err := io.WriteString(w, strings.TrimSuffix(before, ",\n")+"\n]\n"); err != nil {
		return fmt.Errorf("experiment: write JSON: %w", err)
	}
	return nil
}

// ReadJSON reads what [JSON] wrote; every record is valid.
func ReadJSON(r io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		d := json.NewDecoder(r)
		fail := func(err error) { yield(Record{}, fmt.Errorf("experiment: read JSON: %w", err)) }
		if _, err := d.Token(); err != nil {
			fail(err)
			return
		}
		for d.More() {
			var rec Record
			err := d.Decode(&rec)
			if err == nil {
				err = rec.Validate()
			}
			if err != nil {
				fail(err)
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
		if _, err := d.Token(); err != nil {
			fail(err)
		}
	}
}

// Folder returns what [MLflow] writes files to below a folder of this machine.
func Folder(dir string) func(name string, body []byte) error {
	return func(name string, body []byte) error {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			return os.MkdirAll(to, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, body, 0o644)
	}
}

// Zip returns what [MLflow] writes files to in an archive. Equal records give
// equal bytes.
func Zip(z *zip.Writer) func(name string, body []byte) error {
	return func(name string, body []byte) error {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		if strings.HasSuffix(name, "/") {
			h.Method = zip.Store
		}
		w, err := z.CreateHeader(h)
		if err == nil && len(body) > 0 {
			_, err = w.Write(body)
		}
		return err
	}
}

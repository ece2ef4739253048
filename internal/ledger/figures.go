package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	dg "driftgate"
)

// Figure is the state of one window as it was published, with all that it was
// computed from, so that anyone can compute it again. The ledger reads neither
// Inputs nor Result.
type Figure struct {
	Model        string
	ModelVersion string
	Window       string    // "30m", "1h", ...
	End          time.Time // of the window
	At           time.Time // when it was published
	Inputs       json.RawMessage
	Result       json.RawMessage
}

// maxInputs bounds the unpacked inputs of one figure, and its result, in bytes.
const maxInputs = 64 << 20

// AddFigures keeps figures, in one transaction. A figure of the same model,
// version, window, end and time of publication replaces the one before. The
// error is [driftgate.ErrInvalid] when one of these is missing, or the inputs
// are too large.
func (l *Ledger) AddFigures(ctx context.Context, figures ...Figure) error {
	if len(figures) == 0 {
		return nil
	}
	return l.tx(ctx, "add figures", func(tx *sql.Tx) error {
		for _, f := range figures {
			if f.Model == "" || f.Window == "" || f.End.IsZero() || f.At.IsZero() || max(len(f.Inputs), len(f.Result)) > maxInputs {
				return fmt.Errorf("figure of model %q, window %q, end %s, published %s, inputs of %d and result of %d bytes: want all of them, and at most %d bytes: %w",
					f.Model, f.Window, f.End, f.At, len(f.Inputs), len(f.Result), maxInputs, dg.ErrInvalid)
			}
			inputs, err := pack(f.Inputs)
			if err != nil {
				return err
			}
			result, err := pack(f.Result)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO figures (model, window_end, window_name, model_version, published_at, inputs, result)
				VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model, window_end, window_name, model_version, published_at)
				DO UPDATE SET inputs = excluded.inputs, result = excluded.result`,
				f.Model, nanos(f.End), f.Window, f.ModelVersion, nanos(f.At), inputs, result)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func pack(b []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func unpack(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("packed JSON: %w: %w", dg.ErrInvalid, err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxInputs+1))
	if err == nil && len(out) > maxInputs {
		err = fmt.Errorf("over %d bytes", maxInputs)
	}
	if err != nil {
		return nil, fmt.Errorf("packed JSON: %w: %w", dg.ErrInvalid, err)
	}
	return out, nil
}

// figuresPerPage bounds what is held at once while figures are streamed: the
// inputs of a week are a megabyte.
const figuresPerPage = 8

// Figures streams the figures of a model whose windows end within iv, by end,
// window, version and time of publication. Figures that are added meanwhile may
// be among them. An error ends the stream.
func (l *Ledger) Figures(ctx context.Context, model string, iv dg.Interval) iter.Seq2[Figure, error] {
	scan := func(rows *sql.Rows) (f Figure, err error) {
		var end, at int64
		var inputs, result []byte
		if err = rows.Scan(&end, &f.Window, &f.ModelVersion, &at, &inputs, &result); err != nil {
			return f, err
		}
		f.Model, f.End, f.At = model, fromNanos(end), fromNanos(at)
		if f.Inputs, err = unpack(inputs); err != nil {
			return f, err
		}
		f.Result, err = unpack(result)
		return f, err
	}
	const columns = `SELECT window_end, window_name, model_version, published_at, inputs, result FROM figures WHERE model = ? `
	return pages(figuresPerPage, func(last *Figure) ([]Figure, error) {
		if last == nil {
			return collect(ctx, l, "figures", scan, columns+`AND window_end >= ? AND window_end < ?
				ORDER BY window_end, window_name, model_version, published_at LIMIT ?`, model, bound(iv.Start), bound(iv.End), figuresPerPage)
		}
		return collect(ctx, l, "figures", scan, columns+`AND (window_end, window_name, model_version, published_at) > (?, ?, ?, ?) AND window_end < ?
			ORDER BY window_end, window_name, model_version, published_at LIMIT ?`,
			model, nanos(last.End), last.Window, last.ModelVersion, nanos(last.At), bound(iv.End), figuresPerPage)
	})
}

// pages streams what next answers, page by page; next gets the last one that
// was given, nil at first. No statement is open while the receiver works.
func pages[T any](size int, next func(last *T) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var last *T
		for {
			page, err := next(last)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			if len(page) < size {
				return
			}
			last = &page[len(page)-1]
		}
	}
}

// PruneFigures forgets the figures that were published before the given time.
func (l *Ledger) PruneFigures(ctx context.Context, before time.Time) error {
	return l.tx(ctx, "prune figures", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM figures WHERE published_at < ?`, bound(before))
		return err
	})
}

// DriftReference returns what [Ledger.SetDriftReference] has kept for a model;
// the error may be [driftgate.ErrNotFound].
func (l *Ledger) DriftReference(ctx context.Context, model string) (json.RawMessage, error) {
	var value string
	err := l.read.QueryRowContext(ctx, `SELECT value FROM drift_references WHERE model = ?`, model).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		err = dg.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: drift reference of %s: %w", model, err)
	}
	return json.RawMessage(value), nil
}

// SetDriftReference keeps what the inputs of a model are compared with; it
// replaces an earlier one. The ledger does not read it.
func (l *Ledger) SetDriftReference(ctx context.Context, model string, value json.RawMessage) error {
	return l.tx(ctx, "set drift reference of "+model, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO drift_references (model, value) VALUES (?, ?)
			ON CONFLICT (model) DO UPDATE SET value = excluded.value`, model, string(value))
		return err
	})
}

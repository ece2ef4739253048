package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	dg "driftgate"
)

// reasonOf is the stratum of a sample that nobody has curated: what its tags
// say, first match first.
func reasonOf(s dg.Sample, threshold float64) dg.Stratum {
	switch {
	case s.Stratum != "":
		return s.Stratum
	case dg.RoundConfidence(s.Confidence) < threshold: // as the tag has it; false for NaN: a missing confidence is not low
		return dg.LowConfidence
	case s.Flagged:
		return dg.Flagged
	case s.CorrectedClass != "":
		return dg.Corrected
	}
	return dg.Random
}

func confidence(c float64) any {
	if math.IsNaN(c) {
		return nil
	}
	return dg.RoundConfidence(c)
}

func checkSample(s dg.Sample) error {
	if _, _, err := dg.ParseKey(s.Key); err != nil {
		return err
	}
	if s.Timestamp.IsZero() {
		return fmt.Errorf("sample %s: no timestamp: %w", s.Key, dg.ErrInvalid)
	}
	return nil
}

// Captured enters samples of the production bucket, or what is new about
// them: a flag is kept for ever, a correction replaces the one before, and no
// decision and no label is undone. A sample that was labelled as a random pick
// and is flagged afterwards counts for the flagged stratum from then on. One
// transaction; the error may be [driftgate.ErrInvalid], and then nothing is
// entered.
func (l *Ledger) Captured(ctx context.Context, samples ...dg.Sample) error {
	if len(samples) == 0 {
		return nil
	}
	ids := make([]string, len(samples))
	for i, s := range samples {
		if err := checkSample(s); err != nil {
			return fmt.Errorf("ledger: captured: %w", err)
		}
		ids[i] = s.ID()
	}
	return l.tx(ctx, "captured", func(tx *sql.Tx) error {
		records, err := recordsOf(ctx, tx, ids)
		if err != nil {
			return err
		}
		var next []Record
		for i, s := range samples {
			old, known := records[ids[i]]
			if !known {
				old = Unseen(s)
			}
			r, changed := merged(old, s)
			records[ids[i]] = r
			if !changed {
				continue
			}
			next = append(next, r)
			if known {
				if err := unreadTags(ctx, tx, ids[i]); err != nil {
					return err
				}
			}
		}
		return l.save(ctx, tx, next...)
	})
}

// Unseen is the record of a sample that no bucket but the one of s has shown
// yet: without decision and label, whatever its tags say.
func Unseen(s dg.Sample) Record {
	s.Stratum, s.SamplingFraction, s.LabelSource, s.Votes, s.LabelledAt = "", 0, "", dg.Votes{}, time.Time{}
	return Record{Sample: s, State: New}
}

// merged is the record after the production bucket has shown s. What a
// prediction was never changes; only flag, correction and whereabouts do.
func merged(old Record, s dg.Sample) (next Record, changed bool) {
	next = old
	next.Key, next.InProduction = s.Key, true
	next.Flagged = old.Flagged || s.Flagged
	if s.CorrectedClass != "" {
		next.CorrectedClass = s.CorrectedClass
	}
	if old.ModelVersion == "" {
		next.ModelVersion = s.ModelVersion
	}
	next = next.settled()
	changed = !old.InProduction || next.Key != old.Key || next.Flagged != old.Flagged || next.CorrectedClass != old.CorrectedClass ||
		next.ModelVersion != old.ModelVersion || next.Stratum != old.Stratum
	return next, changed
}

// settled moves a labelled random pick that users flagged or corrected to
// that stratum: a late flag never counts for the random one, or its error would
// count twice, as a pick and for all the others like it.
func (r Record) settled() Record {
	if r.State == Labelled && r.Stratum == dg.Random && r.SamplingFraction < 1 && (r.Flagged || r.CorrectedClass != "") {
		r.Stratum, r.SamplingFraction = lateStratum(r), 1
	}
	return r
}

func lateStratum(r Record) dg.Stratum {
	if r.Flagged {
		return dg.Flagged
	}
	return dg.Corrected
}

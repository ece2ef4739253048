package driftgate

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
)

// ModelRef names an immutable artifact: "sha256:" and 64 hex digits.
type ModelRef string

// Short is the first twelve hex digits: how people and tags name a version.
func (r ModelRef) Short() string {
	hex := strings.TrimPrefix(string(r), "sha256:")
	return hex[:min(12, len(hex))]
}

// Champion is the record in the models bucket that every server follows. It
// moves only by compare-and-swap.
type Champion struct {
	Model      string    `json:"model"`              // the model's name, the same for all versions
	Version    ModelRef  `json:"version"`            // the artifact that serves
	Previous   ModelRef  `json:"previous,omitempty"` // what served before: where rollback goes
	Generation int       `json:"generation"`         // counts promotions and rollbacks, from 1
	PromotedAt time.Time `json:"promoted_at"`
	Reason     string    `json:"reason"` // "first", "gate", "person", "rollback", with a word of why
	RunID      string    `json:"run_id,omitempty"`

	ETag string `json:"-"` // of the stored record; what the next swap must match
}

// Held reports whether the sample id is kept out of every training set: a
// stable hash of the id falls below fraction (0 to 1).
func Held(id string, fraction float64) bool {
	sum := sha256.Sum256([]byte("holdout\x00" + id))
	return float64(binary.BigEndian.Uint64(sum[:])>>11)/(1<<53) < fraction
}

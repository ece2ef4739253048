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

// RolledBack reports whether c came to serve by a rollback.
func (c Champion) RolledBack() bool { return strings.HasPrefix(c.Reason, "rollback") }

// A Stage is how far a challenger is exposed to production.
type Stage string

// The stages before a challenger is champion, in order.
const (
	Shadow Stage = "shadow" // it answers beside the champion; nobody sees its answers
	Canary Stage = "canary" // it answers a share of the traffic
)

// Exposure is the record in the models bucket, beside [Champion], that says
// which challenger is tried on production and how. It moves only by
// compare-and-swap. It holds for the champion that it names: when another has
// taken over, servers ignore it.
type Exposure struct {
	Model      string    `json:"model"`
	Challenger ModelRef  `json:"challenger,omitempty"` // empty: nothing is exposed
	Against    ModelRef  `json:"against,omitempty"`    // the champion that it is compared with
	Stage      Stage     `json:"stage,omitempty"`
	Share      float64   `json:"share"`            // of the traffic that it answers, 0 to 1; 0 in the shadow
	Step       int       `json:"step"`             // position in the rollout's stages, from 0
	Began      time.Time `json:"began,omitzero"`   // of the whole rollout
	Since      time.Time `json:"since,omitzero"`   // of this stage
	Generation int       `json:"generation"`       // counts moves of the record, from 1
	Reason     string    `json:"reason,omitempty"` // of the last move, with a word of why
	RunID      string    `json:"run_id,omitempty"` // of the retraining that made the challenger

	ETag string `json:"-"` // of the stored record; what the next move must match
}

// ByHand is the step of an exposure that a person set outside the rollout's
// stages: it goes on until a person or harm ends it.
const ByHand = -1

// Exposes reports whether there is a challenger to answer beside champion.
func (e Exposure) Exposes(champion ModelRef) bool {
	return e.Challenger != "" && e.Against == champion && e.Challenger != champion
}

// Takes reports whether the canary answers this upload: a stable hash of its
// bytes falls below Share. So the same picture always meets the same model, a
// larger share keeps the pictures of a smaller one, and another challenger
// gets other pictures.
func (e Exposure) Takes(upload []byte) bool {
	if e.Stage != Canary || e.Share <= 0 {
		return false
	}
	h := sha256.New()
	h.Write([]byte("canary\x00" + e.Challenger + "\x00")) // never fails
	h.Write(upload)
	return fraction(h.Sum(nil)) < e.Share
}

// fraction maps a hash to [0, 1).
func fraction(sum []byte) float64 { return float64(binary.BigEndian.Uint64(sum)>>11) / (1 << 53) }

// Held reports whether the sample id is kept out of every training set: a
// stable hash of the id falls below share (0 to 1).
func Held(id string, share float64) bool {
	sum := sha256.Sum256([]byte("holdout\x00" + id))
	return fraction(sum[:]) < share
}

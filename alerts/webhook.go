// Package alerts is driftgate's side of Prometheus and Alertmanager: the rules
// to load there (rules.yml, with promtool tests), an example of Alertmanager's
// configuration, and the reader of the webhook that Alertmanager calls.
//
// The reader is tolerant where newer Alertmanagers may differ (unknown fields)
// and strict where a mistake would retrain the wrong model: an alert becomes a
// trigger only with the label that asks for it and the name of a known model.
// It records nothing and starts nothing.
package alerts

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	dg "driftgate"
)

// Files holds rules.yml and the description it is made from, slo.yml.
//
//go:embed rules.yml slo.yml
var Files embed.FS

// MaxAlerts is how many alerts one delivery may carry.
const MaxAlerts = 10_000

// maxText bounds what is kept of an alert's name and summary, in bytes.
const maxText = 500

// Payload is a webhook delivery of Alertmanager, payload version 4. Fields
// that driftgate doesn't use are left out.
type Payload struct {
	Version         string            `json:"version"`
	GroupKey        string            `json:"groupKey"`
	TruncatedAlerts uint64            `json:"truncatedAlerts"` // alerts left out because of max_alerts
	Status          string            `json:"status"`          // firing when any alert is; each alert has its own
	Receiver        string            `json:"receiver"`
	GroupLabels     map[string]string `json:"groupLabels"`
	ExternalURL     string            `json:"externalURL"`
	Alerts          alertList         `json:"alerts"`
}

// alertList is read alert by alert and no further than it may go: an empty
// alert is three bytes of a body and over a hundred of memory.
type alertList []Alert

// UnmarshalJSON reads at most MaxAlerts alerts; the error of more is [dg.ErrInvalid].
func (l *alertList) UnmarshalJSON(b []byte) error {
	*l = nil
	dec := json.NewDecoder(bytes.NewReader(b))
	if open, err := dec.Token(); err != nil || open == nil { // nil is null
		return err
	} else if open != json.Delim('[') {
		return fmt.Errorf("alerts: want a list: %w", dg.ErrInvalid)
	}
	for dec.More() {
		if len(*l) == MaxAlerts {
			return fmt.Errorf("more than %d alerts (set max_alerts): %w", MaxAlerts, dg.ErrInvalid)
		}
		var a Alert
		if err := dec.Decode(&a); err != nil {
			return err
		}
		*l = append(*l, a)
	}
	return nil
}

// Alert is one alert of a delivery.
type Alert struct {
	Status       string            `json:"status"` // firing or resolved
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // the zero time while it fires
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// DedupeKey names the cause: the alert's fingerprint and when it began. Every
// repetition and the resolution of one alert have the same.
func (a Alert) DedupeKey() string {
	return a.Fingerprint + "+" + a.StartsAt.UTC().Format(time.RFC3339Nano)
}

// Options say which alerts ask for a retraining.
type Options struct {
	Label  string              // the label that asks for it; default "action"
	Value  string              // ... with this value; default "retrain"
	Models map[string]struct{} // names of the models that may be retrained; empty knows none
	Window time.Duration       // span of the figure the alert looks at: its cause began about that long before startsAt
}

// Delivery is a delivery read and sorted.
type Delivery struct {
	Triggers  []dg.Trigger // in the order of the alerts; At and ID are left to the inbox
	Ignored   []string     // why each other alert is none, one sentence each
	Truncated uint64       // alerts that Alertmanager left out
}

// Parse reads one delivery and sorts its alerts. The error is [dg.ErrInvalid]
// for what is no payload of version 4: the same again fails again. Limiting the
// size of r is the caller's part; its error is passed on.
func Parse(r io.Reader, o Options) (Delivery, error) {
	var p Payload
	dec := json.NewDecoder(r)
	if err := dec.Decode(&p); err != nil {
		return Delivery{}, decodeError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Delivery{}, fmt.Errorf("alerts: read webhook: want one JSON object and nothing after it: %w", dg.ErrInvalid)
	}
	if err := p.validate(); err != nil {
		return Delivery{}, err
	}
	d := Delivery{Truncated: p.TruncatedAlerts}
	for i, a := range p.Alerts {
		t, why, err := a.trigger(o)
		switch {
		case err != nil:
			return Delivery{}, fmt.Errorf("alerts: read webhook: alerts[%d]: %w", i, err)
		case why != "":
			d.Ignored = append(d.Ignored, why)
		default:
			d.Triggers = append(d.Triggers, t)
		}
	}
	return d, nil
}

// decodeError keeps errors of the transport apart from nonsense in the body.
func decodeError(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var when *time.ParseError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("alerts: read webhook: byte %d: %w: %w", syntax.Offset, err, dg.ErrInvalid)
	case errors.As(err, &kind), errors.As(err, &when), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("alerts: read webhook: want the JSON that Alertmanager sends: %w: %w", err, dg.ErrInvalid)
	}
	return fmt.Errorf("alerts: read webhook: %w", err)
}

func (p Payload) validate() error {
	switch {
	case p.Version != "4":
		return fmt.Errorf("alerts: read webhook: payload version %q, want \"4\": %w", clip(p.Version), dg.ErrInvalid)
	case len(p.Alerts) == 0:
		return fmt.Errorf("alerts: read webhook: no alerts, want at least one: %w", dg.ErrInvalid)
	}
	return nil
}

// trigger turns one alert into a trigger, or says in why what keeps it from
// being one. Only alerts that ask for a retraining have to be well formed.
func (a Alert) trigger(o Options) (t dg.Trigger, why string, err error) {
	label, value := orDefault(o.Label, "action"), orDefault(o.Value, "retrain")
	name := clip(orDefault(a.Labels["alertname"], "unnamed alert"))
	if a.Labels[label] != value {
		return t, fmt.Sprintf("%s has no label %s=%q", name, label, value), nil
	}
	model := a.Labels["model"]
	if _, known := o.Models[model]; !known {
		return t, fmt.Sprintf("%s is about model %q, which is not served here", name, clip(model)), nil
	}
	switch {
	case a.Status != "firing" && a.Status != "resolved":
		return t, "", fmt.Errorf("status %q, want firing or resolved: %w", clip(a.Status), dg.ErrInvalid)
	case a.Fingerprint == "" || len(a.Fingerprint) > 128:
		return t, "", fmt.Errorf("fingerprint of %d bytes, want 1 to 128: %w", len(a.Fingerprint), dg.ErrInvalid)
	case a.StartsAt.IsZero():
		return t, "", fmt.Errorf("no startsAt: %w", dg.ErrInvalid)
	}
	reason := name
	if s := a.Annotations["summary"]; s != "" {
		reason += ": " + clip(s)
	}
	return dg.Trigger{
		Source:    dg.FromAlertmanager,
		Model:     model,
		Reason:    reason,
		DedupeKey: a.DedupeKey(),
		Since:     a.StartsAt.Add(-max(o.Window, 0)).UTC(),
		Resolved:  a.Status == "resolved",
	}, "", nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// clip bounds a text from outside, at a rune's edge.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

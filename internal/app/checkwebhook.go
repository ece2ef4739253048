package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"driftgate"
	"driftgate/alerts"
)

// idle is what the checks send to Alertmanager's door: a valid body that
// starts nothing, for its one alert is resolved and asks for no retraining.
func idle() ([]byte, error) {
	return json.Marshal(alerts.Payload{Version: "4", Status: "resolved", Receiver: "driftgate check", Alerts: []alerts.Alert{{
		Status: "resolved", Labels: map[string]string{"alertname": "DriftgateCheck"}, StartsAt: time.Unix(0, 0).UTC(), Fingerprint: "check",
	}}})
}

const webhookPath = "/api/v1/alerts"

// checkWebhook delivers at Alertmanager's door: without a token it must be shut,
// with the token open, and with the alerts token too when there is one.
func (a *App) checkWebhook(ctx context.Context) finding {
	a.reloads.mu.Lock()
	alertsToken := a.reloads.current.HTTP.AlertsToken
	a.reloads.mu.Unlock()
	opens := "the token"
	tokens := []string{"", a.token}
	if alertsToken != "" {
		tokens, opens = append(tokens, alertsToken), "the token and the alerts token"
	}
	for _, token := range tokens {
		status, err := a.knock(ctx, token)
		if err != nil {
			return broken(err, "see the log")
		}
		open, shut := status == http.StatusOK, status == http.StatusUnauthorized || status == http.StatusForbidden
		if token == "" && !shut || token != "" && !open {
			return broken(fmt.Errorf("POST %s answers %d, token given: %v", webhookPath, status, token != ""), "see the log; Alertmanager's http_config needs the token as credentials_file")
		}
	}
	return pass("POST %s is open with %s and shut without", webhookPath, opens)
}

// knock asks the gateway's own handler, whatever TLS or proxy is in front.
func (a *App) knock(ctx context.Context, token string) (status int, err error) {
	body, err := idle()
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, webhookPath, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.RemoteAddr, req.Host = "127.0.0.1:0", "localhost"
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := answer{header: http.Header{}, status: http.StatusOK}
	a.server.Handler.ServeHTTP(&w, req)
	return w.status, nil
}

// answer keeps the status of a request made within the process.
type answer struct {
	header http.Header
	status int
}

func (w *answer) Header() http.Header         { return w.header }
func (w *answer) Write(b []byte) (int, error) { return len(b), nil }
func (w *answer) WriteHeader(status int)      { w.status = status }

// as is the same client with another token.
func (c *Client) as(token string) *Client {
	other := *c
	other.token, other.close = token, nil
	return &other
}

// checkAlertsToken delivers over the network, as Alertmanager does, with the
// alerts token of the configuration that this command has read.
func (c *Client) checkAlertsToken(ctx context.Context) finding {
	body, err := idle()
	if err != nil {
		return broken(err, "see the log")
	}
	taken, err := c.Do(ctx, http.MethodPost, webhookPath, "application/json", bytes.NewReader(body))
	if errors.Is(err, driftgate.ErrUnauthorized) || errors.Is(err, driftgate.ErrRefused) {
		return broken(fmt.Errorf("POST %s%s: the gateway does not take the http.alerts_token of this configuration: %w", c.Address, webhookPath, err),
			"reload the gateway (kill -HUP, or POST /-/reload), or give this command the gateway's own --config and environment")
	} else if err != nil {
		return broken(fmt.Errorf("POST %s%s: %w", c.Address, webhookPath, err), "see the gateway's log")
	}
	defer taken.Close()
	text, err := io.ReadAll(io.LimitReader(taken, 1<<20))
	var got struct {
		Triggers []json.RawMessage `json:"triggers"`
	}
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil || len(got.Triggers) > 0 {
		return broken(fmt.Errorf("POST %s%s answers %.200q: want no triggers: %w", c.Address, webhookPath, text, errors.Join(err, driftgate.ErrInvalid)), "is that a driftgate?")
	}
	return pass("opens POST %s%s", c.Address, webhookPath)
}

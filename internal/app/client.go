package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"driftgate"
	"driftgate/internal/config"
)

// Client speaks to a gateway over HTTP: to the one that owns the folder when
// one runs, else to one started for this command alone.
type Client struct {
	Address string
	token   string
	http    *http.Client
	close   func() error
}

// Connect finds the gateway of c.Dir by its run.json, or, when nobody owns the
// folder, starts one on a free port that runs no schedules and ends with Close.
func Connect(ctx context.Context, c config.Config) (*Client, error) {
	lock, err := AcquireLock(c.Dir)
	if errors.Is(err, driftgate.ErrBusy) {
		run, readErr := ReadRunFile(c.Dir)
		if readErr != nil {
			return nil, fmt.Errorf("%w (and it does not listen yet: %w)", err, readErr)
		}
		return run.Client()
	} else if err != nil {
		return nil, err
	}
	if err := lock.Release(); err != nil {
		return nil, err
	}
	return private(ctx, c)
}

// private runs a gateway for one command.
func private(ctx context.Context, c config.Config) (*Client, error) {
	c.HTTP.Listen, c.HTTP.WebConfig = "127.0.0.1:0", "" // nobody else knows of it
	a, err := New(ctx, Options{Config: c, Quiet: true})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	client := NewClient(a.Address(), a.Token())
	client.close = func() error {
		cancel()
		return <-done
	}
	return client, nil
}

// NewClient speaks to the gateway at address (http://host:port).
func NewClient(address, token string) *Client {
	return &Client{Address: strings.TrimSuffix(address, "/"), token: token, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// Close ends a gateway that Connect started; another's is left alone.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if c.close == nil {
		return nil
	}
	return c.close()
}

// Private reports whether the gateway was started for this client alone, and ends
// with it.
func (c *Client) Private() bool { return c.close != nil }

// Get reads path into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.JSON(ctx, http.MethodGet, path, nil, out)
}

// Post sends in as JSON to path and reads the answer into out; either may be nil.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	return c.JSON(ctx, http.MethodPost, path, in, out)
}

// JSON makes one request. An error answer becomes an error with its text and
// the sentinel that belongs to its status.
func (c *Client) JSON(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	answer, err := c.Do(ctx, method, path, "application/json", body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, answer)
		return err
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw, err = io.ReadAll(answer)
		return err
	}
	return json.NewDecoder(answer).Decode(out)
}

// Do makes one request and returns the body of a successful answer.
func (c *Client) Do(ctx context.Context, method, path, contentType string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Address+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

// problem turns an error answer (RFC 9457) into an error.
func problem(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what can be had of the explanation
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	detail := strings.TrimSpace(string(text))
	if json.Unmarshal(text, &p) == nil && p.Detail+p.Title != "" {
		if detail = p.Detail; detail == "" {
			detail = p.Title
		}
		for _, e := range p.Errors {
			detail += "\n  " + strings.TrimSpace(e.Location+" "+e.Message)
		}
	}
	return statusError{resp.StatusCode, detail}
}

// statusError is an error answer: its text says everything, its kind is the
// sentinel of its status.
type statusError struct {
	status int
	detail string
}

func (e statusError) Error() string {
	if e.detail == "" {
		return fmt.Sprintf("the gateway answered %d %s", e.status, http.StatusText(e.status))
	}
	return e.detail
}

func (e statusError) Is(target error) bool {
	switch e.status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return target == driftgate.ErrInvalid
	case http.StatusUnauthorized:
		return target == driftgate.ErrUnauthorized
	case http.StatusNotFound:
		return target == driftgate.ErrNotFound
	case http.StatusConflict:
		return target == driftgate.ErrConflict || target == driftgate.ErrRefused
	case http.StatusForbidden:
		return target == driftgate.ErrRefused
	case http.StatusLocked:
		return target == driftgate.ErrBusy
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return target == driftgate.ErrFull
	}
	return false
}

// Retry calls f until it succeeds, ctx ends, or the error is one that the same
// call would meet again.
func Retry(ctx context.Context, every time.Duration, f func() error) error {
	for {
		err := f()
		if err == nil || errors.Is(err, driftgate.ErrInvalid) || errors.Is(err, driftgate.ErrUnauthorized) || errors.Is(err, driftgate.ErrNotFound) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(every):
		}
	}
}

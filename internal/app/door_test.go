package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/config"

	"golang.org/x/crypto/bcrypt"
)

// selfSigned writes a certificate for the name, and its key, into dir.
func selfSigned(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	writeText(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func hashed(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

const webTLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nhttp_server_config: {headers: {Strict-Transport-Security: max-age=60}}\n"

// overTLS asks with the certificate of the gateway trusted, as curl --cacert.
func overTLS(t *testing.T, e *edge, dir, path string, change func(*http.Request)) (*http.Response, error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "gateway.example"}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.Address()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err == nil {
		_, _ = io.Copy(io.Discard, answer.Body) // only the head matters
		answer.Body.Close()
	}
	return answer, err
}

func TestTheWebConfigOpensTheOuterDoor(t *testing.T) {
	dir := t.TempDir()
	selfSigned(t, dir, "gateway.example")
	file := filepath.Join(dir, "web.yml")
	writeText(t, file, webTLS+"basic_auth_users: {prometheus: "+hashed(t, "scrape-me")+"}\n")
	e := startEdge(t, func(o *Options) {
		o.Config.HTTP.WebConfig = file
		c := o.Config
		o.Load = func() (config.Config, error) { return c, nil }
	})
	if !strings.HasPrefix(e.Address(), "https://") {
		t.Fatalf("address %s", e.Address())
	}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	check := func(when string, user, password string) {
		t.Helper()
		for _, tt := range []struct {
			name, path string
			change     func(*http.Request)
			status     int
		}{
			{"a health check needs no password", "/-/healthy", nil, 200},
			{"nobody asks for the version", "/version", nil, 401},
			{"nobody asks for nothing there", "/nothing-there", nil, 401},
			{"a wrong password", "/metrics", basic(user, "wrong"), 401},
			{"an unknown user", "/metrics", basic("nobody", password), 401},
			{"the user scrapes", "/metrics", basic(user, password), 200},
			{"the user again", "/metrics", basic(user, password), 200},
			{"the user is no token", "/api/v1/runs", basic(user, password), 401},
			{"the token opens both doors", "/api/v1/runs", bearer(e.Token()), 200},
			{"a wrong token opens none", "/version", bearer("wrong-token-wrong-token"), 401},
			{"the alerts token is for alerts", "/version", bearer(edgeAlertsToken), 401},
		} {
			answer, err := overTLS(t, e, dir, tt.path, tt.change)
			if err != nil {
				t.Fatalf("%s, %s: %v", when, tt.name, err)
			}
			if answer.StatusCode != tt.status || answer.ProtoMajor != 2 || answer.Header.Get("Strict-Transport-Security") != "max-age=60" {
				t.Errorf("%s, %s: %s %d %v, want %d", when, tt.name, answer.Proto, answer.StatusCode, answer.Header, tt.status)
			}
		}
	}
	check("at first", "prometheus", "scrape-me")

	// The commands on this machine trust the certificate that run.json names.
	connect := func() error {
		c, err := Connect(t.Context(), e.Config)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Get(t.Context(), "/api/v1/runs", nil)
	}
	if err := connect(); err != nil {
		t.Errorf("a command: %v", err)
	}

	old, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	selfSigned(t, dir, "gateway.example") // renewed
	writeText(t, file, webTLS+"basic_auth_users: {operator: "+hashed(t, "another one")+"}\n")
	if _, err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("after a reload", "operator", "another one")
	if err := connect(); err != nil {
		t.Errorf("a command after the certificate was renewed: %v", err)
	}
	run, err := ReadRunFile(e.Config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	run.CertificateFile, run.Certificate = "", string(old)
	stranger, err := run.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Get(t.Context(), "/api/v1/runs", nil); err == nil || !strings.Contains(err.Error(), "certificate is not the gateway's") {
		t.Errorf("the token went to a server with another certificate: %v", err)
	}

	for mistake, kind := range map[string]error{
		"basic_auth_users: [": driftgate.ErrInvalid, "tls: yes\n": driftgate.ErrInvalid, webTLS + "rate_limit: {burst: 1, interval: 1s}\n": driftgate.ErrInvalid,
		"basic_auth_users: {prometheus: plain-text}\n":                     driftgate.ErrInvalid,
		"basic_auth_users: {prometheus: " + hashed(t, "scrape-me") + "}\n": driftgate.ErrRefused, // TLS off
	} {
		writeText(t, file, mistake)
		if _, err := e.Reload(t.Context()); !errors.Is(err, kind) || strings.Contains(err.Error(), "plain-text") {
			t.Errorf("%q: %v, want %v", mistake, err, kind)
		}
	}
	check("after mistakes", "operator", "another one")
}

func TestAWebConfigWithAMistakeStartsNothing(t *testing.T) {
	for name, text := range map[string]string{"no such certificate": webTLS, "an unknown key": "tls: on\n"} {
		c := config.Default()
		c.Dir, c.HTTP.Listen, c.HTTP.WebConfig = t.TempDir(), "127.0.0.1:0", filepath.Join(t.TempDir(), "web.yml")
		writeText(t, c.HTTP.WebConfig, text)
		if _, err := New(t.Context(), Options{Config: c}); !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), "web.yml") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

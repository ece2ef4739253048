package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"driftgate"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
	"golang.org/x/crypto/bcrypt"
)

// door is what a web config file asks of those who connect: TLS, and a user
// with a password. It is the outer door; behind it the token still opens what
// is not open to all. Whoever shows the token has passed the door too, for one
// request carries one Authorization header.
type door struct {
	tls     *tls.Config // nil is plain HTTP
	http2   bool
	headers map[string]string
	users   map[string]string // name -> bcrypt hash; empty asks for none
	path    string            // of the certificate; empty when the file holds it
	inline  string            // the certificate, PEM

	work  sync.Mutex // one password is tried at a time: bcrypt is meant to be slow
	right sync.Map   // digests of the right pairs that were shown: at most one a user
}

// nobody is the hash that an unknown user's password is compared with, so that
// the time of the answer does not tell who is known.
const nobody = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"

// openDoor reads a web config file; no path is an open door. The error is
// [driftgate.ErrInvalid].
func openDoor(path string) (*door, error) {
	d := &door{http2: true}
	if path == "" {
		return d, nil
	}
	if err := d.read(path); err != nil {
		return nil, fmt.Errorf("app: http.web_config %s: %w: %w", path, driftgate.ErrInvalid, err)
	}
	return d, nil
}

func (d *door) read(path string) error {
	if err := toolkit.Validate(path); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// The defaults are the toolkit's own.
	c := toolkit.Config{HTTPConfig: toolkit.HTTPConfig{HTTP2: true}}
	c.TLSConfig.MinVersion, c.TLSConfig.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return err
	}
	if c.RateLimiterConfig != (toolkit.RateLimiterConfig{}) {
		return errors.New("rate_limit is not for this gateway: set http.rate_per_ip")
	}
	d.http2, d.headers, d.users = c.HTTPConfig.HTTP2, c.HTTPConfig.Header, map[string]string{}
	for name, hash := range c.Users {
		d.users[name] = string(hash)
	}
	if !c.TLSConfig.IsEnabled() {
		return nil
	}
	c.TLSConfig.SetDirectory(filepath.Dir(path))
	d.path, d.inline = c.TLSConfig.TLSCertPath, c.TLSConfig.TLSCert
	if d.tls, err = toolkit.ConfigToTLSConfig(&c.TLSConfig); err != nil {
		return err
	}
	d.tls.NextProtos = []string{"http/1.1"}
	if d.http2 {
		d.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	return nil
}

// lets reports whether the request names a user with the right password, or
// the door asks for none.
func (d *door) lets(r *http.Request) bool {
	if len(d.users) == 0 {
		return true
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return false
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%d %s%s", len(name), name, password))
	if _, known := d.right.Load(key); known {
		return true
	}
	hash, exists := d.users[name]
	if !exists {
		hash = nobody
	}
	d.work.Lock()
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	d.work.Unlock()
	if !exists || err != nil {
		return false
	}
	d.right.Store(key, nil)
	return true
}

// doors holds the door that is in use; a reload changes it.
type doors struct{ now atomic.Pointer[door] }

func (d *doors) lets(r *http.Request) bool { return d.now.Load().lets(r) }

// tls is the listener's configuration: each handshake asks the present door.
func (d *doors) tls() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return d.now.Load().tls, nil },
	}
}

// headers adds those that the file asks for.
func (d *doors) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range d.now.Load().headers {
			w.Header().Set(k, v)
		}
		next.ServeHTTP(w, r)
	})
}

// openDoors reads the web config before the embedded store changes the working
// directory.
func (a *App) openDoors(context.Context) error {
	d, err := openDoor(a.Config.HTTP.WebConfig)
	if err != nil {
		return err
	}
	a.doors.now.Store(d)
	return nil
}

// reopen reads the web config again; TLS itself cannot come or go while the
// gateway listens.
func (a *App) reopen() (*door, error) {
	d, err := openDoor(a.Config.HTTP.WebConfig)
	if err != nil {
		return nil, err
	}
	if was := a.doors.now.Load(); (was.tls == nil) != (d.tls == nil) || was.http2 != d.http2 {
		return nil, fmt.Errorf("app: http.web_config: turning TLS or HTTP/2 on or off needs a restart: %w", driftgate.ErrRefused)
	}
	return d, nil
}

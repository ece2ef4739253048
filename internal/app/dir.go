package app

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"driftgate"

	"github.com/google/renameio/v2"
)

// Files in the folder that holds all embedded state.
const (
	lockFile  = "lock"
	runFile   = "run.json"
	tokenFile = "token"
)

// RunFile is run.json: how other commands find the gateway that owns a folder.
// It is written when the gateway listens and removed when it stops; whether a
// gateway runs is decided by the lock, not by this file.
type RunFile struct {
	PID     int    `json:"pid"`
	Address string `json:"address"` // http://host:port or https://host:port
	Token   string `json:"token"`

	// The certificate that the gateway shows, PEM: in this file, or here.
	CertificateFile string `json:"certificate_file,omitempty"`
	Certificate     string `json:"certificate,omitempty"`
}

// Lock is the exclusive right to a folder. It ends with the process, however
// that ends.
type Lock struct{ file *os.File }

// AcquireLock takes dir for this process, creating it (0700) if needed. When
// another process owns it the error is [driftgate.ErrBusy] and names it.
func AcquireLock(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("app: create %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("app: lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("app: lock %s: %w", dir, err)
		}
		owner := "another driftgate"
		if run, err := ReadRunFile(dir); err == nil {
			owner = fmt.Sprintf("the driftgate with process id %d at %s", run.PID, run.Address)
		}
		return nil, fmt.Errorf("app: %s belongs to %s: stop that one or choose another --dir: %w", dir, owner, driftgate.ErrBusy)
	}
	return &Lock{f}, nil
}

// Release gives the folder up.
func (l *Lock) Release() error { return l.file.Close() }

// ReadRunFile reads run.json of dir; the error is [driftgate.ErrNotFound] when
// there is none.
func ReadRunFile(dir string) (RunFile, error) {
	var run RunFile
	b, err := os.ReadFile(filepath.Join(dir, runFile))
	if errors.Is(err, fs.ErrNotExist) {
		return run, fmt.Errorf("app: %s: no %s: %w", dir, runFile, driftgate.ErrNotFound)
	} else if err != nil {
		return run, fmt.Errorf("app: read %s: %w", runFile, err)
	}
	if err := json.Unmarshal(b, &run); err != nil {
		return run, fmt.Errorf("app: read %s: %w: %w", runFile, driftgate.ErrInvalid, err)
	}
	return run, nil
}

func writeRunFile(dir string, run RunFile) error {
	b, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, runFile), b, 0o600); err != nil {
		return fmt.Errorf("app: write %s: %w", runFile, err)
	}
	return nil
}

func removeRunFile(dir string) error {
	if err := os.Remove(filepath.Join(dir, runFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("app: remove %s: %w", runFile, err)
	}
	return nil
}

// loadToken returns the token of dir, made on first start (0600); fresh says
// that it was made now.
func loadToken(dir string) (token string, fresh bool, err error) {
	path := filepath.Join(dir, tokenFile)
	b, err := os.ReadFile(path)
	if err == nil {
		if token = strings.TrimSpace(string(b)); len(token) < 16 {
			return "", false, fmt.Errorf("app: %s: %d characters, want at least 16; delete it to have one made: %w", path, len(token), driftgate.ErrInvalid)
		}
		return token, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("app: read token: %w", err)
	}
	secret := make([]byte, 20)
	rand.Read(secret) // never fails: crypto/rand ends the process instead
	token = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret))
	if err := renameio.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", false, fmt.Errorf("app: keep token: %w", err)
	}
	return token, true, nil
}

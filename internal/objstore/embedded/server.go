// Package embedded runs an S3 server in this process, over a folder, so that
// driftgate needs no other server: versitygw's POSIX backend with tags and
// metadata in extended attributes, made durable.
//
// What it promises beyond versitygw: a write is acknowledged only once the
// object, its tags and every directory on its way are on the disk; an object
// and its tags, uploaded or copied, become visible in one step; listings carry
// tags when asked (MinIO's metadata=true). The folder can be read without
// driftgate: each object is a file at objects/BUCKET/KEY.
//
// What it refuses: a second server in this process, since versitygw keeps
// state in package variables, and a file system without user extended
// attributes. The tags of one object must fit into about 3 KB on ext4.
//
// The backend works on relative paths, so [Start] changes the working directory
// of the process to the objects folder and [Server.Close] changes it back.
// Whoever starts a server must make its own paths absolute before.
package embedded

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"

	dg "driftgate"
)

const (
	objectsDir      = "objects"
	credentialsFile = "credentials.json"

	copyLimit      = 5 << 30 // S3's own; versitygw's zero value refuses every copy
	maxConnections = 1024
	maxRequests    = 512
	maxParts       = 10000 // S3's own
)

// Options say where the server keeps its objects and where it listens.
type Options struct {
	Dir     string       // folder of objects and credentials; created if missing
	Address string       // host:port; default 127.0.0.1 and a free port
	Logger  *slog.Logger // default: silent
}

// Server is a running server.
type Server struct {
	address   string // host:port as listened on
	keys      credentials
	previous  string // working directory to return to
	gateway   *gateway
	closeOnce sync.Once
	closeErr  error
}

type credentials struct {
	Access string `json:"access_key"`
	Secret string `json:"secret_key"`
}

// running says that this process has its one server.
var running atomic.Bool

// Start runs a server until [Server.Close]; ctx bounds the start only. On the
// first start it writes credentials to Dir/credentials.json, mode 0600. A second
// server in the process is [driftgate.ErrBusy].
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if !running.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("embedded: start: one server in a process, and one runs: %w", dg.ErrBusy)
	}
	s, err := start(ctx, o)
	if err != nil {
		running.Store(false)
		return nil, fmt.Errorf("embedded: start in %s: %w", o.Dir, err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (_ *Server, err error) {
	if o.Dir == "" {
		return nil, fmt.Errorf("no folder: %w", dg.ErrInvalid)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(dir, objectsDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	if err := probeAttributes(root, meta.XattrMeta{}.StoreAttribute); err != nil {
		return nil, err
	}
	keys, err := loadCredentials(filepath.Join(dir, credentialsFile))
	if err != nil {
		return nil, err
	}
	if err := removeStaged(root); err != nil {
		return nil, err
	}
	previous, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s := &Server{keys: keys, previous: previous}
	if err := s.listen(ctx, o, root); err != nil {
		return nil, errors.Join(err, os.Chdir(previous))
	}
	return s, nil
}

// listen binds the address and serves on it.
func (s *Server) listen(ctx context.Context, o Options, root string) error {
	address, err := bindAddress(o)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	files, err := posix.New(root, meta.XattrMeta{}, posix.PosixOpts{
		CopyObjectThreshold: copyLimit,
		// Staged files have names of their own and are renamed into place. The
		// unnamed files of O_TMPFILE cannot replace an object without a detour
		// through a name beside it, which a crash would leave in listings.
		ForceNoTmpFile:     true,
		ForceNoObjLockFile: true, // one process owns the folder
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	be := &durable{Posix: files, root: root, fsync: (*os.File).Sync, logger: o.Logger}
	if s.gateway, err = startGateway(ctx, be, s.keys, l); err != nil {
		return errors.Join(err, l.Close())
	}
	s.address = l.Addr().String()
	o.Logger.Info("object store ready", "endpoint", s.Endpoint(), "folder", root)
	return nil
}

// Endpoint is the server's address as a URL.
func (s *Server) Endpoint() string {
	host, port, _ := net.SplitHostPort(s.address) // we made it
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Credentials are those of the one account, which may do everything.
func (s *Server) Credentials() (access, secret string) { return s.keys.Access, s.keys.Secret }

// Close lets the requests under way end, for a few seconds at most, stops the
// server and returns once the port is free again. It is safe to call twice.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		s.closeErr = errors.Join(s.gateway.close(), os.Chdir(s.previous))
		running.Store(false)
	})
	if s.closeErr != nil {
		return fmt.Errorf("embedded: close: %w", s.closeErr)
	}
	return nil
}

// bindAddress returns the address to listen on, and warns when others than
// this machine can reach it.
func bindAddress(o Options) (string, error) {
	if o.Address == "" {
		return "127.0.0.1:0", nil
	}
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return "", fmt.Errorf("address %q: want host:port: %w", o.Address, dg.ErrInvalid)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		o.Logger.Warn("the object store listens beyond this machine, without TLS", "address", o.Address)
	}
	return o.Address, nil
}

// probeAttributes stores an extended attribute as the backend would.
func probeAttributes(dir string, store func(f *os.File, bucket, object, name string, value []byte) error) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	err = store(f, "", "", "driftgate-probe", []byte("1"))
	err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("the file system of %s has no user extended attributes, where object tags are kept: "+
			"want ext4, xfs, btrfs or zfs (tmpfs from Linux 6.6 on), or another S3 server as s3.endpoint: %w", dir, err)
	}
	return err
}

// removeStaged deletes what an earlier process had begun to write and never
// acknowledged.
func removeStaged(root string) error {
	buckets, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		staging := filepath.Join(root, bucket.Name(), posix.MetaTmpDir)
		files, err := os.ReadDir(staging)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		} else if err != nil {
			return err
		}
		for _, f := range files {
			if !f.Type().IsRegular() {
				continue // multipart uploads may go on
			}
			if err := os.Remove(filepath.Join(staging, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadCredentials reads the file, or makes it.
func loadCredentials(path string) (credentials, error) {
	var c credentials
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c = credentials{Access: "driftgate", Secret: rand.Text() + rand.Text()}
		if b, err = json.MarshalIndent(c, "", "  "); err == nil {
			err = renameio.WriteFile(path, append(b, '\n'), 0o600, renameio.IgnoreUmask())
		}
		return c, err
	} else if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil || c.Access == "" || c.Secret == "" {
		return c, fmt.Errorf("%s: want access_key and secret_key as JSON: %w", path, dg.ErrInvalid)
	}
	return c, os.Chmod(path, 0o600) // a restored backup may have opened it
}

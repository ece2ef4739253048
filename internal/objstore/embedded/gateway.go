package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
)

const (
	startTimeout = 30 * time.Second
	drainTimeout = 5 * time.Second // what requests under way get at the end

	// doorbell is the path of the one request that start makes.
	doorbell = "/-/driftgate-start"
)

// gateway is versitygw serving on a listener of ours. Versitygw opens its
// listeners itself, tells nobody which port it got, and at its end waits ten
// seconds for connections that a client has opened and never used, as Go's
// http.Transport does. So it gets a private socket to start with, over which
// one request fetches its HTTP server, and that serves our listener too.
type gateway struct {
	front   *listener
	stop    context.CancelFunc
	ended   chan error // the gateway's end
	served  chan error // the front's end
	cleanup func() error
}

func startGateway(ctx context.Context, be *durable, keys credentials, l net.Listener) (_ *gateway, err error) {
	socket, cleanup, err := privateSocket()
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	g := &gateway{front: &listener{Listener: l, open: map[*conn]struct{}{}}, stop: stop,
		ended: make(chan error, 1), served: make(chan error, 1), cleanup: cleanup}
	apps := make(chan *fiber.App, 1)
	listening := make(chan struct{})
	go func() {
		g.ended <- embedgw.RunVersityGW(life, be, &embedgw.Config{
			RootUserAccess:    keys.Access,
			RootUserSecret:    keys.Secret,
			IAMService:        auth.NewIAMServiceSingle(auth.Account{Access: keys.Access, Secret: keys.Secret, Role: auth.RoleAdmin}),
			Ports:             []string{socket},
			SocketPerm:        "0600",
			MaxConnections:    maxConnections,
			MaxRequests:       maxRequests,
			MultipartMaxParts: maxParts,
			KeepAlive:         true,
			Quiet:             true,
			S3Options: []s3api.Option{
				s3api.WithOnListen(func() { close(listening) }),
				s3api.WithMiddleware("/", tagListings(be.root)),
				s3api.WithRoute(http.MethodGet, doorbell, func(c fiber.Ctx) error {
					select {
					case apps <- c.App():
					default: // known already
					}
					return c.SendStatus(http.StatusNoContent)
				}),
			},
		})
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-listening:
		err = ring(ctx, socket)
	case err = <-g.ended:
		stop()
		return nil, errors.Join(err, errors.New("the gateway ended at once"), cleanup())
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		stop()
		return nil, errors.Join(err, <-g.ended, cleanup())
	}
	app := <-apps
	go func() { g.served <- app.Server().Serve(g.front) }()
	return g, nil
}

// privateSocket names a Unix socket that no file need stay behind for.
func privateSocket() (address string, cleanup func() error, err error) {
	if runtime.GOOS == "linux" {
		return "@driftgate-" + rand.Text(), func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "driftgate-") // 0700; a path in Options.Dir may be too long for a socket
	return filepath.Join(dir, "s3"), func() error { return os.RemoveAll(dir) }, err
}

// ring makes the one request over the private socket.
func ring(ctx context.Context, socket string) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://driftgate"+doorbell, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("the gateway answers its first request with %s", resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// close ends the gateway: connections without a request at once, those with
// one when it is done or the time is up.
func (g *gateway) close() error {
	g.stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(drainTimeout); ; {
		select {
		case err := <-g.ended:
			return errors.Join(err, g.front.closeFront(), <-g.served, g.cleanup())
		case now := <-ticker.C:
			g.front.closeConns(now.After(deadline))
		}
	}
}

// listener knows its open connections.
type listener struct {
	net.Listener
	mu   sync.Mutex
	open map[*conn]struct{}
}

// conn is a connection that knows whether its client ever said anything.
type conn struct {
	net.Conn
	from *listener
	used atomic.Bool
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &conn{Conn: c, from: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[tracked] = struct{}{}
	return tracked, nil
}

// closeConns closes the connections that nobody has used, or all.
func (l *listener) closeConns(all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if all || !c.used.Load() {
			_ = c.Conn.Close() // the server notices and forgets it
		}
	}
}

// closeFront closes the listener, which the server may have done already.
func (l *listener) closeFront() error {
	if err := l.Listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Read reads and remembers that there was something. A connection that this
// side has closed looks to the server like one that the client has: the gateway
// would print the difference as an internal error.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.used.Load() {
		c.used.Store(true)
	}
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// Close closes and forgets the connection.
func (c *conn) Close() error {
	c.from.mu.Lock()
	delete(c.from.open, c)
	c.from.mu.Unlock()
	return c.Conn.Close()
}

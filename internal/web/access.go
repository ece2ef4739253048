package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
)

// access says what a route asks of its caller. The zero value asks for the
// token, so a route that nobody thought about is closed.
type access uint8

const (
	needsToken  access = iota // Authorization: Bearer TOKEN, or a session
	isOpen                    // anyone, within the rate limit
	needsAlerts               // the token or the alerts token, as bearer or basic password
)

const (
	sessionCookie = "driftgate_session"
	maxSessions   = 1024 // the one that was opened first gives way
	sessionBytes  = 32
)

// guard is the one door. It decides by the registered route, never by the raw
// path, and lets nobody through whom the table doesn't let through.
func (s *server) guard(c *gin.Context) {
	route := c.FullPath()
	need := s.routes[c.Request.Method+" "+route]
	// Health checks rarely know a password, and hear one word.
	health := route == "/-/healthy" || route == "/-/ready"
	if s.d.Enter != nil && !health && !s.bearer(c.Request, need) && !s.d.Enter(c.Request) {
		s.shut(c)
		return
	}
	if route == "" {
		return // no such route: the 404 page says so to everyone alike
	}
	if need == isOpen {
		if !s.limit.allow(ClientKey(c.ClientIP()), time.Now()) {
			s.metrics.limited.Inc()
			s.fail(c, newProblem(http.StatusTooManyRequests, "too many requests from this address: slow down and try again"))
		}
		return
	}
	if s.bearer(c.Request, need) {
		c.Set(trustedKey, true)
		return
	}
	if need == needsToken && s.sessions.valid(cookieOf(c.Request), time.Now()) {
		if err := s.crossOrigin.Check(c.Request); err != nil {
			s.fail(c, newProblem(http.StatusForbidden, "a request from another site must not act with this browser's session"))
			return
		}
		c.Set(trustedKey, true)
		c.Set(sessionKey, true)
		return
	}
	// Wrong tokens are cheap to guess with: they count against the rate limit.
	if !s.limit.allow(ClientKey(c.ClientIP()), time.Now()) {
		s.fail(c, newProblem(http.StatusTooManyRequests, "too many requests from this address: slow down and try again"))
		return
	}
	if c.Request.Method == http.MethodGet && wantsHTML(c.Request) && c.GetHeader("Authorization") == "" {
		c.Redirect(http.StatusSeeOther, "/login?next="+url.QueryEscape(c.Request.URL.RequestURI()))
		c.Abort()
		return
	}
	s.fail(c, fmt.Errorf("this needs the token: send Authorization: Bearer TOKEN, or sign in at /login: %w", dg.ErrUnauthorized))
}

// shut answers at the outer door. Wrong passwords count against the rate limit.
func (s *server) shut(c *gin.Context) {
	if !s.limit.allow(ClientKey(c.ClientIP()), time.Now()) {
		s.metrics.limited.Inc()
		s.fail(c, newProblem(http.StatusTooManyRequests, "too many requests from this address: slow down and try again"))
		return
	}
	c.Header("WWW-Authenticate", `Basic realm="driftgate"`)
	s.fail(c, newProblem(http.StatusUnauthorized, "this needs a user and a password of the web config, or the token as Authorization: Bearer TOKEN"))
}

const (
	trustedKey = "driftgate.trusted" // in the gin context: the guard let the caller through with the token or a session
	sessionKey = "driftgate.session" // in the gin context: ... with a session
)

// signedIn reports whether the caller has shown the token, also on routes that
// don't ask for it.
func (s *server) signedIn(c *gin.Context) bool {
	return c.GetBool(trustedKey) || s.bearer(c.Request, needsToken) || s.sessions.valid(cookieOf(c.Request), time.Now())
}

// bearer reports whether the request carries a right token in its
// Authorization header. Every comparison takes constant time.
func (s *server) bearer(r *http.Request, need access) bool {
	given, ok := "", false
	if scheme, rest, found := strings.Cut(r.Header.Get("Authorization"), " "); found && strings.EqualFold(scheme, "Bearer") {
		given, ok = strings.TrimSpace(rest), true
	} else if need == needsAlerts {
		_, given, ok = r.BasicAuth()
	}
	if !ok {
		return false
	}
	right := sameSecret(given, s.o.Token)
	if alerts := s.live.Load().AlertsToken; need == needsAlerts && alerts != "" {
		right = sameSecret(given, alerts) || right
	}
	return right
}

// sameSecret compares in constant time, whatever the lengths.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func cookieOf(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// sessions holds what browsers got for the token: random names, kept as
// digests, at most maxSessions, each for a bounded time.
type sessions struct {
	length time.Duration

	mu   sync.Mutex
	open map[[sha256.Size]byte]time.Time // digest -> when it ends
}

func newSessions(length time.Duration) *sessions {
	return &sessions{length: length, open: map[[sha256.Size]byte]time.Time{}}
}

// start opens a session and returns its cookie value.
func (ss *sessions) start(now time.Time) string {
	name := rand.Text() + rand.Text()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	var first [sha256.Size]byte
	var firstEnd time.Time
	for k, end := range ss.open {
		switch {
		case !now.Before(end):
			delete(ss.open, k)
		case firstEnd.IsZero() || end.Before(firstEnd):
			first, firstEnd = k, end
		}
	}
	if len(ss.open) >= maxSessions {
		delete(ss.open, first)
	}
	ss.open[sha256.Sum256([]byte(name))] = now.Add(ss.length)
	return name
}

func (ss *sessions) valid(name string, now time.Time) bool {
	if name == "" {
		return false
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	end, ok := ss.open[sha256.Sum256([]byte(name))]
	return ok && now.Before(end)
}

func (ss *sessions) end(name string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.open, sha256.Sum256([]byte(name)))
}

type loginPage struct {
	layout
	Next  string
	Wrong bool
}

func (s *server) getLogin(c *gin.Context) {
	if s.signedIn(c) {
		c.Redirect(http.StatusSeeOther, localPath(c.Query("next")))
		return
	}
	s.page(c, http.StatusOK, "login", loginPage{layout: s.layout(c, "login", "Sign in"), Next: localPath(c.Query("next"))})
}

// postLogin trades the token for a session. A login from another site is
// refused, so nobody can be signed in unawares.
func (s *server) postLogin(c *gin.Context) {
	if err := s.crossOrigin.Check(c.Request); err != nil {
		s.fail(c, newProblem(http.StatusForbidden, "sign in from this site's own page"))
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	next := localPath(c.PostForm("next"))
	if !sameSecret(strings.TrimSpace(c.PostForm("token")), s.o.Token) {
		s.log.WarnContext(c.Request.Context(), "sign-in refused", "client", c.ClientIP())
		l := s.layout(c, "login", "Sign in")
		s.page(c, http.StatusUnauthorized, "login", loginPage{layout: l, Next: next, Wrong: true})
		return
	}
	s.setCookie(c, s.sessions.start(time.Now()), int(s.o.SessionLength/time.Second))
	c.Redirect(http.StatusSeeOther, next)
}

func (s *server) postLogout(c *gin.Context) {
	s.sessions.end(cookieOf(c.Request))
	s.setCookie(c, "", -1)
	c.Redirect(http.StatusSeeOther, "/")
}

func (s *server) setCookie(c *gin.Context, value string, maxAge int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: c.Request.TLS != nil || s.o.SecureCookies,
	})
}

// localPath keeps a redirect on this site: a path of ours, else "/".
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}

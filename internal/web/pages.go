package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"driftgate/internal/estimate"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/*
var staticFiles embed.FS

// pages are the parsed templates, each with the layout around it, and the
// static files under names that change with their content.
type pages struct {
	byName map[string]*template.Template
	static map[string]staticFile
}

type staticFile struct {
	body        []byte
	kind, query string
}

var functions = template.FuncMap{
	"percent": percent, "points": points, "bounds": bounds, "count": count, "clock": clock, "day": day, "stamp": stamp, "age": age,
	"keyPath": keyPath, "duration": durationText, "words": words, "plural": plural, "span": span, "bytes": bytesText,
	"halfWidth": onePoint, "wholeBounds": wholeBounds, "pvalue": pValue, "evalue": evalueWords, "sequence": sequenceWords,
	"number":    func(v float64) string { return fmt.Sprintf("%.3g", v) },
	"percentOf": func(share float64) float64 { return round1(share * 100) },
	"mul":       func(a, b float64) float64 { return round1(a * b) },
	"add":       func(a, b float64) float64 { return round1(a + b) },
	"sub":       func(a, b float64) float64 { return round1(a - b) },
}

func loadPages() (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}, static: map[string]staticFile{}}
	if err := p.loadStatic(); err != nil {
		return nil, err
	}
	base, err := template.New("layout.html").Funcs(functions).Funcs(template.FuncMap{"static": p.staticPath}).
		ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/pictures.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		short := strings.TrimSuffix(path.Base(name), ".html")
		if short == "layout" || short == "parts" || short == "pictures" {
			continue
		}
		own, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if p.byName[short], err = own.ParseFS(templateFiles, name); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pages) loadStatic() error {
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		return err
	}
	for _, e := range entries {
		body, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		p.static[e.Name()] = staticFile{body, mime.TypeByExtension(path.Ext(e.Name())), hex.EncodeToString(sum[:6])}
	}
	return nil
}

// staticPath is the address of a static file; it changes with the content, so
// browsers may keep it for ever.
func (p *pages) staticPath(name string) string {
	return "/static/" + name + "?v=" + p.static[name].query
}

func (s *server) addPages() {
	s.handle(isOpen, http.MethodGet, "/static/:name", s.static)
	s.handle(isOpen, http.MethodGet, "/favicon.ico", func(c *gin.Context) { c.Redirect(http.StatusMovedPermanently, "/static/icon.svg") })
	s.handle(isOpen, http.MethodGet, "/login", s.getLogin)
	s.handle(isOpen, http.MethodPost, "/login", s.postLogin)
	s.handle(needsToken, http.MethodPost, "/logout", s.postLogout)
	s.handle(isOpen, http.MethodGet, "/", s.getPredict)
	s.handle(needsToken, http.MethodGet, "/label", s.getLabel)
	s.handle(needsToken, http.MethodPost, "/label", s.postLabel)
	s.handle(needsToken, http.MethodGet, "/accuracy", s.getAccuracyPage)
	s.handle(needsToken, http.MethodGet, "/models", s.getModels)
	s.handle(needsToken, http.MethodGet, "/models/compare", s.getCompare)
	s.handle(needsToken, http.MethodGet, "/models/:ref", s.getModel)
	s.handle(needsToken, http.MethodPost, "/models/promote", s.postPromote)
	s.handle(needsToken, http.MethodPost, "/models/rollback", s.postRollback)
	s.handle(needsToken, http.MethodPost, "/models/expose", s.postExpose)
	s.handle(needsToken, http.MethodPost, "/models/expose/end", s.postEndExposure)
	s.handle(needsToken, http.MethodPost, "/models/reject", s.postReject)
	s.handle(needsToken, http.MethodGet, "/experiments", s.getExperiments)
	s.handle(needsToken, http.MethodGet, "/experiments/:id", s.getExperiment)
	s.handle(needsToken, http.MethodPost, "/experiments/:id", s.postExperiment)
	s.handle(needsToken, http.MethodGet, "/runs", s.getRuns)
	s.handle(needsToken, http.MethodPost, "/runs", s.postRuns)
	s.handle(needsToken, http.MethodPost, "/runs/cancel", s.postCancel)
	s.handle(needsToken, http.MethodGet, "/decisions", s.getDecisions)
}

func (s *server) static(c *gin.Context) {
	f, ok := s.pages.static[c.Param("name")]
	if !ok {
		s.noRoute(c)
		return
	}
	if c.Query("v") == f.query {
		c.Header("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		c.Header("Cache-Control", "public, max-age=300")
	}
	c.Data(http.StatusOK, f.kind, f.body)
}

// layout is what every page has around it.
type layout struct {
	Title    string
	Current  string // the navigation entry that is here
	SignedIn bool
	Session  bool // signed in by a session, so that signing out makes sense
	Model    string
	Serving  string // short version
	Version  string
	Now      time.Time
	Firing   bool
	Done     string // what an action has just done
	About    string // the page in a sentence, for whoever gets its link; only whoever may see the page does
	Refresh  int    // seconds until the page is to be loaded again; 0: never
}

func (s *server) layout(c *gin.Context, current, title string) layout {
	l := layout{
		Title: title, Current: current, SignedIn: s.signedIn(c), Model: s.o.Model, Version: s.o.Version,
		Session: s.sessions.valid(cookieOf(c.Request), time.Now()),
		Serving: s.d.Serving.Version().Short(), Now: s.o.Now().UTC(),
	}
	if l.SignedIn {
		l.Firing = s.d.Accuracy.Snapshot().Alarm.State == estimate.Firing
		l.Done = doneWords[c.Query("done")]
	}
	return l
}

// doneWords say on the next page what an action did. Only these can be shown.
var doneWords = map[string]string{
	"promoted": "The champion record has moved. Servers follow within seconds.",
	"rollback": "The champion before serves again. Servers follow within seconds.",
	"exposed":  "It answers beside the champion. Servers follow within seconds.",
	"ended":    "Nothing is tried beside the champion any more.",
	"rejected": "The champion stays; your reason is on record.",
	"started":  "A retraining was started.",
	"cancel":   "The run was asked to end.",
}

// page renders a template. It is rendered whole before the first byte leaves,
// so that an error in its middle is an error.
func (s *server) page(c *gin.Context, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.byName[name].ExecuteTemplate(&b, "layout.html", data); err != nil {
		s.log.ErrorContext(c.Request.Context(), "render page", "page", name, "error", err)
		c.String(http.StatusInternalServerError, "the page %s can't be shown; the log of the gateway says why\n", name)
		return
	}
	c.Data(status, "text/html; charset=utf-8", b.Bytes())
}

type errorPageData struct {
	layout
	Problem *Problem
}

func (s *server) errorPage(p *Problem) errorPageData {
	return errorPageData{layout{Title: p.Title, Model: s.o.Model, Version: s.o.Version, Now: s.o.Now().UTC()}, p}
}

type thanksPage struct {
	layout
	Text string
}

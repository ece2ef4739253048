package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/labelling"
)

type labelPage struct {
	layout
	Task      *labelling.Task
	Image     string
	Classes   []classKey
	Progress  labelProgress
	Annotator string
	Name      string // given by the annotator; empty if not
	CanUndo   bool
}

// classKey is a class with the key that chooses it; only the first ten have
// one.
type classKey struct {
	Key   string
	Label string
}

func classKeys(classes dg.Classes) []classKey {
	keys := make([]classKey, len(classes))
	for i, label := range classes {
		keys[i].Label = label
		if i < 10 {
			keys[i].Key = fmt.Sprint(i)
		}
	}
	return keys
}

// annotatorCookie holds the name that somebody gave on the page.
const annotatorCookie = "driftgate_annotator"

// annotatorName is the name that somebody gave on the page, empty if nobody did.
func annotatorName(c *gin.Context) string {
	cookie, err := c.Request.Cookie(annotatorCookie)
	if err != nil {
		return ""
	}
	name, err := url.QueryUnescape(cookie.Value)
	if err != nil || !annotatorForm.MatchString(name) {
		return ""
	}
	return name
}

// annotatorOf is who labels in a browser: the name given on the page, else one
// made from its session, so that two people who label at once get different
// images.
func annotatorOf(c *gin.Context) string {
	if name := annotatorName(c); name != "" {
		return name
	}
	if cookie := cookieOf(c.Request); cookie != "" {
		sum := sha256.Sum256([]byte("annotator\x00" + cookie))
		return "page-" + hex.EncodeToString(sum[:4])
	}
	return "page"
}

func (s *server) getLabel(c *gin.Context) {
	ctx, who := c.Request.Context(), annotatorOf(c)
	tasks, err := s.d.Labelling.Lease(ctx, who, 1)
	if err != nil {
		s.fail(c, err)
		return
	}
	p, err := s.d.Labelling.Progress(ctx)
	if err != nil {
		s.fail(c, err)
		return
	}
	page := labelPage{
		layout: s.layout(c, "label", "Label"), Classes: classKeys(s.d.Serving.Classes()),
		Progress: progressOf(p), Annotator: who, Name: annotatorName(c), CanUndo: p.Answered > 0,
	}
	if len(tasks) > 0 {
		page.Task, page.Image = &tasks[0], taskImagePath(tasks[0].ID)
	}
	s.page(c, http.StatusOK, "label", page)
}

// postLabel is the way without script: one answer, then the next image.
func (s *server) postLabel(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	ctx, who, id := c.Request.Context(), annotatorOf(c), c.PostForm("id")
	var err error
	switch c.PostForm("do") {
	case "name":
		err = s.setAnnotator(c, strings.TrimSpace(c.PostForm("name")))
	case "undo":
		_, err = s.d.Labelling.Undo(ctx, who)
	case "skip":
		err = s.d.Labelling.Skip(ctx, who, id)
	default:
		err = s.d.Labelling.Answer(ctx, who, id, c.PostForm("label"))
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/label")
}

// setAnnotator keeps a person's name in the browser; an empty one is forgotten.
func (s *server) setAnnotator(c *gin.Context, name string) error {
	maxAge := int(annotatorKept.Seconds())
	if name == "" {
		maxAge = -1
	} else if !annotatorForm.MatchString(name) {
		return fmt.Errorf("name %q: want 1 to 64 letters, digits, spaces and _ . @ + -: %w", name, dg.ErrInvalid)
	}
	http.SetCookie(c.Writer, &http.Cookie{
		Name: annotatorCookie, Value: url.QueryEscape(name), Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: c.Request.TLS != nil || s.o.SecureCookies,
	})
	return nil
}

const annotatorKept = 365 * 24 * time.Hour

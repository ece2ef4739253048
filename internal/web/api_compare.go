package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/evaluator"
)

// Evaluation is what the web asks of the evaluator, each over the interval of
// labels that the gate looks at. Every answer may take long the first time.
type Evaluation struct {
	// Interval is what reports and studies look at when nobody says.
	Interval   func() dg.Interval
	Report     func(ctx context.Context, ref dg.ModelRef, iv dg.Interval) (evaluator.Report, error)
	Study      func(ctx context.Context, refs []dg.ModelRef, iv dg.Interval) (evaluator.Study, error)
	Discordant func(ctx context.Context, a, b dg.ModelRef, iv dg.Interval, suite string, kind evaluator.Discord, after string, limit int) ([]evaluator.Shown, error)
	Picture    func(ctx context.Context, ref dg.ModelRef, suite, id string) (body []byte, contentType string, err error)
}

// pending answers 202: what was asked for is being computed.
type pending struct {
	State string    `json:"state" enum:"computing" doc:"ask again in a few seconds"`
	Since time.Time `json:"since"`
}

// maybe is an answer that may not be ready.
type maybe struct {
	Status     int
	RetryAfter int `header:"Retry-After"`
	Body       any
}

func ready[T any](f found[T]) *maybe {
	if f.Computing && !f.Has() {
		return &maybe{http.StatusAccepted, retryAfterSeconds, pending{"computing", f.Since.UTC()}}
	}
	return &maybe{Status: http.StatusOK, Body: f.Value}
}

// gallery is one page of discordant images.
type gallery struct {
	Images []shownBody `json:"images"`
	Next   string      `json:"next,omitempty" doc:"what after is for the next page; absent on the last"`
}

type shownBody struct {
	evaluator.Shown
	Picture string `json:"picture" doc:"where the image is, on this gateway"`
}

// galleryPage is how many images a page of a gallery has.
const galleryPage = 24

// Over is an optional interval of a request.
type Over struct {
	Start string `query:"start" maxLength:"40" doc:"with end: the interval of predictions whose labels count, RFC 3339; default is the gate's window up to now"`
	End   string `query:"end" maxLength:"40"`
}

// addCompareAPI registers reports, studies and galleries.
func (s *server) addCompareAPI(api huma.API) {
	lasting := func(o huma.Operation, body reflect.Type, name string) huma.Operation {
		of := func(t reflect.Type, hint string) map[string]*huma.MediaType {
			return map[string]*huma.MediaType{"application/json": {Schema: api.OpenAPI().Components.Schemas.Schema(t, true, hint)}}
		}
		o.Errors = append(o.Errors, http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable)
		o.Responses = map[string]*huma.Response{
			"200": {Description: "what was asked for, at most half a minute old unless nothing has changed", Content: of(body, name)},
			"202": {Description: "being computed: ask again", Content: of(reflect.TypeFor[pending](), "Pending")},
		}
		return o
	}
	register(s, api, lasting(op("model-report", "GET", "/models/{ref}/report", "Models", "A version on every suite: accuracy, classes, calibration, robustness, slices, speed, training"), reflect.TypeFor[evaluator.Report](), "Report"),
		func(ctx context.Context, in *struct {
			Ref string `path:"ref" maxLength:"100" doc:"a version, the beginning of one, champion, previous or latest"`
			Over
		}) (*maybe, error) {
			ref, err := s.d.Models.Resolve(ctx, in.Ref)
			if err != nil {
				return nil, err
			}
			r, err := s.modelReport(ctx, ref, in.Over, apiPatience)
			return ready(r), err
		})
	register(s, api, lasting(op("study", "GET", "/compare/study", "Models", "Two to eight versions on the same images: differences, agreement, training, lineage"), reflect.TypeFor[evaluator.Study](), "Study"),
		func(ctx context.Context, in *struct {
			Versions string `query:"versions" required:"true" maxLength:"800" doc:"two to eight versions, by comma; the first is the champion of the comparison"`
			Over
		}) (*maybe, error) {
			refs, err := s.resolveAll(ctx, strings.Split(in.Versions, ","))
			if err != nil {
				return nil, err
			}
			r, err := s.study(ctx, refs, in.Over, apiPatience)
			return ready(r), err
		})
	register(s, api, lasting(op("discordant", "GET", "/compare/discordant", "Models", "Images that only one of two versions gets right, or neither"), reflect.TypeFor[gallery](), "Gallery"),
		func(ctx context.Context, in *struct {
			A     string            `query:"a" required:"true" maxLength:"100"`
			B     string            `query:"b" required:"true" maxLength:"100"`
			Suite string            `query:"suite" default:"heldout" maxLength:"100"`
			Kind  evaluator.Discord `query:"kind" required:"true" enum:"only_a,only_b,both_wrong"`
			After string            `query:"after" maxLength:"400" doc:"id of the last image of the page before"`
			Limit int               `query:"limit" default:"24" minimum:"1" maximum:"500"`
			Over
		}) (*maybe, error) {
			refs, err := s.resolveAll(ctx, []string{in.A, in.B})
			if err != nil {
				return nil, err
			}
			g, err := s.gallery(ctx, refs[0], refs[1], in.Over, galleryOf{in.Suite, in.Kind, in.After, in.Limit}, apiPatience)
			return ready(g), err
		})
	reject := op("reject", "POST", "/reject", "Models", "Say, for the record, that a version does not take over")
	reject.Errors = append(reject.Errors, http.StatusNotFound, http.StatusConflict)
	register(s, api, reject, func(ctx context.Context, in *struct {
		Body struct {
			Ref    string `json:"ref" minLength:"1" maxLength:"100" doc:"a version, or the beginning of one"`
			Reason string `json:"reason" minLength:"1" maxLength:"2000"`
		}
	}) (*struct{}, error) {
		return nil, s.leave(ctx, in.Body.Ref, in.Body.Reason)
	})
	s.handle(needsToken, http.MethodGet, apiBase+"/models/:ref/picture", s.modelPicture)
	doc := api.OpenAPI()
	doc.AddOperation(&huma.Operation{OperationID: "model-picture", Method: "GET", Path: apiBase + "/models/{ref}/picture", Summary: "One image of a suite", Tags: []string{"Models"},
		Security: []map[string][]string{{"token": {}}}, Parameters: []*huma.Param{
			{Name: "ref", In: "path", Required: true, Description: "the version whose dataset the test suite is", Schema: &huma.Schema{Type: "string"}},
			{Name: "suite", In: "query", Description: "default heldout", Schema: &huma.Schema{Type: "string"}},
			{Name: "id", In: "query", Required: true, Schema: &huma.Schema{Type: "string"}}},
		Responses: map[string]*huma.Response{"200": {Description: "the image"}, "404": {Description: "no such version, suite or image"}}})
}

func (s *server) resolveAll(ctx context.Context, shorts []string) ([]dg.ModelRef, error) {
	if len(shorts) > maxCompared {
		return nil, fmt.Errorf("%d versions: want 2 to %d: %w", len(shorts), maxCompared, dg.ErrInvalid)
	}
	var refs []dg.ModelRef
	for _, short := range shorts {
		ref, err := s.d.Models.Resolve(ctx, strings.TrimSpace(short))
		if err != nil {
			return nil, err
		}
		if slices.Contains(refs, ref) {
			return nil, fmt.Errorf("%s twice: a model compared with itself says nothing: name different versions: %w", ref.Short(), dg.ErrInvalid)
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// maxCompared is how many versions a study has at most.
const maxCompared = 8

// interval is what a request looks at, and how it is told from others: empty
// for the window of the gate, which moves with the clock.
func (s *server) interval(in Over) (func() dg.Interval, string, error) {
	if in.Start == "" && in.End == "" {
		return s.d.Evaluation.Interval, "", nil
	}
	iv, err := dg.ParseInterval(in.Start + "/" + in.End)
	return func() dg.Interval { return iv }, iv.String(), err
}

func (s *server) modelReport(ctx context.Context, ref dg.ModelRef, in Over, wait time.Duration) (out found[evaluator.Report], err error) {
	if s.d.Evaluation == nil {
		return out, notHere("judging models")
	}
	iv, name, err := s.interval(in)
	if err != nil {
		return out, err
	}
	return figureOf(ctx, s.figures, "report "+string(ref)+" "+name, wait, func(ctx context.Context) (evaluator.Report, error) {
		return s.d.Evaluation.Report(ctx, ref, iv())
	})
}

func (s *server) study(ctx context.Context, refs []dg.ModelRef, in Over, wait time.Duration) (out found[evaluator.Study], err error) {
	if s.d.Evaluation == nil {
		return out, notHere("judging models")
	}
	if len(refs) < 2 {
		return out, fmt.Errorf("%d versions: want 2 to %d: %w", len(refs), maxCompared, dg.ErrInvalid)
	}
	iv, name, err := s.interval(in)
	if err != nil {
		return out, err
	}
	key := "study"
	for _, r := range refs {
		key += " " + string(r)
	}
	return figureOf(ctx, s.figures, key+" "+name, wait, func(ctx context.Context) (evaluator.Study, error) {
		return s.d.Evaluation.Study(ctx, refs, iv())
	})
}

// galleryOf names a page of a gallery.
type galleryOf struct {
	Suite string
	Kind  evaluator.Discord
	After string
	Limit int
}

func (s *server) gallery(ctx context.Context, a, b dg.ModelRef, in Over, g galleryOf, wait time.Duration) (out found[gallery], err error) {
	if s.d.Evaluation == nil {
		return out, notHere("judging models")
	}
	iv, name, err := s.interval(in)
	if err != nil {
		return out, err
	}
	key := strings.Join([]string{"gallery", string(a), string(b), name, g.Suite, string(g.Kind), strconv.Itoa(g.Limit), g.After}, " ")
	return figureOf(ctx, s.figures, key, wait, func(ctx context.Context) (gallery, error) {
		page := gallery{Images: []shownBody{}}
		shown, err := s.d.Evaluation.Discordant(ctx, a, b, iv(), g.Suite, g.Kind, g.After, min(g.Limit+1, 500))
		if err != nil {
			return page, err
		}
		if len(shown) > g.Limit {
			shown = shown[:g.Limit]
			page.Next = shown[len(shown)-1].ID
		}
		for _, x := range shown {
			address := apiBase + "/models/" + a.Short() + "/picture?" + url.Values{"suite": {x.Suite}, "id": {x.ID}}.Encode()
			page.Images = append(page.Images, shownBody{x, address})
		}
		return page, nil
	})
}

// modelPicture shows one image of a suite. A few are read at a time, however
// many a gallery asks for.
func (s *server) modelPicture(c *gin.Context) {
	if s.d.Evaluation == nil {
		s.fail(c, notHere("judging models"))
		return
	}
	ctx := c.Request.Context()
	suite, id := c.DefaultQuery("suite", evaluator.KindHeldout), c.Query("id")
	if id == "" || len(id) > 400 || len(suite) > 100 {
		s.fail(c, fmt.Errorf("picture: want the id of an image of a suite: %w", dg.ErrInvalid))
		return
	}
	ref, err := s.d.Models.Resolve(ctx, c.Param("ref"))
	if err != nil {
		s.fail(c, err)
		return
	}
	select {
	case s.pictures <- struct{}{}:
		defer func() { <-s.pictures }()
	case <-ctx.Done():
		s.fail(c, ctx.Err())
		return
	}
	body, kind, err := s.d.Evaluation.Picture(ctx, ref, suite, id)
	if err != nil {
		s.fail(c, err)
		return
	}
	if !slices.Contains(pictureKinds, kind) {
		kind = "application/octet-stream" // what stands in a bucket is never a page
	}
	c.Header("Cache-Control", "private, max-age=3600")
	c.Data(http.StatusOK, kind, body)
}

var pictureKinds = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

// leave keeps it on record that a person decided against a version.
func (s *server) leave(ctx context.Context, short, reason string) error {
	reason, err := reasonOf(reason, "")
	if err != nil {
		return err
	}
	if reason == "" {
		return fmt.Errorf("reason: want a word of why: %w", dg.ErrInvalid)
	}
	ref, err := s.d.Models.Resolve(ctx, short)
	if err != nil {
		return err
	}
	champion, has, err := s.champion(ctx)
	if err != nil {
		return err
	}
	if has && champion.Version == ref {
		return fmt.Errorf("%s is the champion: roll back to take it away: %w", ref.Short(), dg.ErrRefused)
	}
	return s.d.Models.Reject(ctx, ref, "person: "+reason)
}

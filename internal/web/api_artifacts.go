package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/registry"
)

// Artifacts is what the web asks of the registry about the files of models.
type Artifacts interface {
	Export(ctx context.Context, ref dg.ModelRef, w io.Writer) error
	Import(ctx context.Context, r io.Reader) (dg.ModelRef, error)
	ONNX(ctx context.Context, ref dg.ModelRef) ([]byte, error)
	Verify(ctx context.Context, ref dg.ModelRef) (registry.Verification, error)
	Sign(ctx context.Context, ref dg.ModelRef) error
	// Retention is the configured policy; its Keep is 0 where none is.
	Retention() registry.Retention
	Prune(ctx context.Context, policy registry.Retention) ([]dg.ModelRef, error)
}

type importBody struct {
	Ref     dg.ModelRef `json:"ref"`
	Version string      `json:"version" doc:"the first twelve digits of ref"`
}

type pruneRequest struct {
	Keep        int    `json:"keep,omitempty" minimum:"0" maximum:"1000000" doc:"newest models that stay besides champion, previous and exposed ones; 0 is models.keep of the configuration"`
	Younger     string `json:"younger,omitempty" maxLength:"30" doc:"models younger than this stay, such as 720h; empty is models.keep_for"`
	Generations int    `json:"generations,omitempty" minimum:"0" maximum:"1000000" doc:"champions of so many generations stay; 0 is models.keep_generations"`
	DryRun      bool   `json:"dry_run,omitempty" doc:"say what would go, delete nothing"`
}

type pruneBody struct {
	Deleted []dg.ModelRef `json:"deleted" doc:"oldest first; with dry_run what would go"`
	DryRun  bool          `json:"dry_run"`
}

// addArtifactAPI registers what brings models in and out and looks after them.
func (s *server) addArtifactAPI(api huma.API) {
	s.handle(needsToken, http.MethodGet, apiBase+"/models/:ref/export", s.exportModel)
	s.handle(needsToken, http.MethodGet, apiBase+"/models/:ref/onnx", s.onnxModel)
	s.handle(needsToken, http.MethodPost, apiBase+"/models/import", s.importModel)
	type byRef struct {
		Ref string `path:"ref" maxLength:"100" doc:"a version, the beginning of one, champion, previous or latest"`
	}
	verify := op("verify-model", "GET", "/models/{ref}/verify", "Models", "Look at a model from its bytes on: digest, signature, self-test")
	verify.Errors = append(verify.Errors, http.StatusNotFound)
	register(s, api, verify, func(ctx context.Context, in *byRef) (*out[registry.Verification], error) {
		ref, err := s.artifact(ctx, in.Ref)
		if err != nil {
			return nil, err
		}
		v, err := s.d.Artifacts.Verify(ctx, ref)
		return answer(v), err
	})
	sign := op("sign-model", "POST", "/models/{ref}/sign", "Models", "Vouch for a model with models.signing_key")
	sign.Errors = append(sign.Errors, http.StatusNotFound, http.StatusConflict)
	register(s, api, sign, func(ctx context.Context, in *byRef) (*out[registry.Verification], error) {
		ref, err := s.artifact(ctx, in.Ref)
		if err != nil {
			return nil, err
		}
		if err := s.d.Artifacts.Sign(ctx, ref); err != nil {
			return nil, err
		}
		v, err := s.d.Artifacts.Verify(ctx, ref)
		return answer(v), err
	})
	register(s, api, op("prune-models", "POST", "/models/prune", "Models", "Delete models that nobody needs"), func(ctx context.Context, in *struct{ Body pruneRequest }) (*out[pruneBody], error) {
		return s.prune(ctx, in.Body)
	})
	s.documentArtifactRoutes(api.OpenAPI())
}

// artifact resolves a model's short name, where there is a store of models.
func (s *server) artifact(ctx context.Context, short string) (dg.ModelRef, error) {
	if s.d.Artifacts == nil {
		return "", notHere("the store of models")
	}
	return s.d.Models.Resolve(ctx, short)
}

func (s *server) prune(ctx context.Context, in pruneRequest) (*out[pruneBody], error) {
	if s.d.Artifacts == nil {
		return nil, notHere("the store of models")
	}
	policy := s.d.Artifacts.Retention()
	policy.DryRun = in.DryRun
	if in.Keep > 0 {
		policy.Keep = in.Keep
	}
	if in.Generations > 0 {
		policy.Generations = in.Generations
	}
	if in.Younger != "" {
		d, err := time.ParseDuration(in.Younger)
		if err != nil {
			return nil, fmt.Errorf("younger %q: want a duration such as 720h: %w", in.Younger, dg.ErrInvalid)
		}
		policy.Younger = d
	}
	if policy.Keep == 0 {
		return nil, fmt.Errorf("keep 0: no policy is configured: say how many models stay, or set models.keep: %w", dg.ErrInvalid)
	}
	deleted, err := s.d.Artifacts.Prune(ctx, policy)
	if err != nil {
		return nil, err
	}
	return answer(pruneBody{orEmpty(deleted), in.DryRun}), nil
}

// download begins an answer with its first byte, so that what fails before is
// answered as an error.
type download struct {
	c     *gin.Context
	name  string
	kind  string
	begun bool
}

func (d *download) Write(b []byte) (int, error) {
	if !d.begun {
		d.begun = true
		d.c.Header("Content-Type", d.kind)
		d.c.Header("Content-Disposition", `attachment; filename="`+d.name+`"`)
		d.c.Status(http.StatusOK)
	}
	return d.c.Writer.Write(b)
}

func (s *server) exportModel(c *gin.Context) {
	ref, err := s.artifact(c.Request.Context(), c.Param("ref"))
	if err != nil {
		s.fail(c, err)
		return
	}
	d := &download{c: c, name: "model-" + ref.Short() + ".tar", kind: "application/x-tar"}
	if err := s.d.Artifacts.Export(c.Request.Context(), ref, d); err != nil {
		if d.begun { // half a file must not look whole
			s.log.ErrorContext(c.Request.Context(), "export model", "error", err)
			panic(http.ErrAbortHandler)
		}
		s.fail(c, err)
	}
}

func (s *server) onnxModel(c *gin.Context) {
	ref, err := s.artifact(c.Request.Context(), c.Param("ref"))
	if err != nil {
		s.fail(c, err)
		return
	}
	graph, err := s.d.Artifacts.ONNX(c.Request.Context(), ref)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Header("Content-Disposition", `attachment; filename="model-`+ref.Short()+`.onnx"`)
	c.Data(http.StatusOK, "application/octet-stream", graph)
}

func (s *server) importModel(c *gin.Context) {
	if s.d.Artifacts == nil {
		s.fail(c, notHere("the store of models"))
		return
	}
	ref, err := s.d.Artifacts.Import(c.Request.Context(), http.MaxBytesReader(c.Writer, c.Request.Body, registry.MaxArchive))
	if err != nil {
		s.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, importBody{ref, ref.Short()})
}

// documentArtifactRoutes describes the routes whose bodies are files.
func (s *server) documentArtifactRoutes(doc *huma.OpenAPI) {
	ref := []*huma.Param{{Name: "ref", In: "path", Required: true, Description: "a version, the beginning of one, champion, previous or latest", Schema: &huma.Schema{Type: "string"}}}
	file := func() *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: "string", Format: "binary"}}
	}
	for _, o := range []*huma.Operation{
		{OperationID: "export-model", Method: "GET", Path: apiBase + "/models/{ref}/export", Summary: "A model as one file, for another installation", Parameters: ref,
			Responses: map[string]*huma.Response{"200": {Description: "a tar archive that /models/import reads", Content: map[string]*huma.MediaType{"application/x-tar": file()}},
				"404": {Description: "no such model"}, "409": {Description: "its signature is missing or not trusted"}, "422": {Description: "it was altered"}}},
		{OperationID: "onnx-model", Method: "GET", Path: apiBase + "/models/{ref}/onnx", Summary: "A model as ONNX (" + network.ONNXFile + ")", Parameters: ref,
			Responses: map[string]*huma.Response{"200": {Description: "an ONNX model: uint8 pixels in, probabilities out", Content: map[string]*huma.MediaType{"application/octet-stream": file()}},
				"404": {Description: "no such model"}}},
		{OperationID: "import-model", Method: "POST", Path: apiBase + "/models/import", Summary: "Take in a model that another installation has exported",
			RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-tar": file()}},
			Responses: map[string]*huma.Response{"200": {Description: "stored, now or before; not promoted", Content: map[string]*huma.MediaType{
				"application/json": {Schema: doc.Components.Schemas.Schema(reflect.TypeFor[importBody](), true, "ImportedModel")}}},
				"409": {Description: "its signature is missing or not trusted"}, "422": {Description: "altered, cut off, or of a newer format"}, "413": {Description: "too large"}}},
	} {
		o.Tags, o.Security = []string{"Models"}, []map[string][]string{{"token": {}}}
		doc.AddOperation(o)
	}
}

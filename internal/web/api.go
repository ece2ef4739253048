package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
)

const apiBase = "/api/v1"

// out wraps a JSON answer as huma wants it.
type out[T any] struct{ Body T }

func answer[T any](v T) *out[T] { return &out[T]{v} }

// report is an answer whose fields belong to another package; it is shown as
// it is.
type report struct {
	Status int
	Body   any
}

// none is the input of operations without any.
type none struct{}

// addAPI registers the operations and renders the OpenAPI document once.
func (s *server) addAPI() error {
	config := huma.DefaultConfig("driftgate", s.o.Version)
	config.Info.Description = "Closes the loop of a deployed image classifier: predictions, labels, production accuracy with its bounds, " +
		"alarms, retraining, promotion. Ratios run 0 to 1, times are RFC 3339 in UTC, errors are RFC 9457 problem details."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema links in answers
	config.RejectUnknownQueryParameters = true
	config.Components = &huma.Components{
		Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
		SecuritySchemes: map[string]*huma.SecurityScheme{
			"token": {Type: "http", Scheme: "bearer", Description: "the token that driftgate created on its first start"},
		},
	}
	config.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	api := humagin.New(s.engine, config)
	s.addLoopAPI(api)
	s.addModelAPI(api)
	s.addLabelAPI(api)
	s.addExperimentAPI(api)
	s.documentRootRoutes(api.OpenAPI())
	doc, err := json.Marshal(api.OpenAPI())
	if err != nil {
		return fmt.Errorf("web: render OpenAPI document: %w", err)
	}
	s.openapi = doc
	s.handle(needsToken, http.MethodGet, "/api/openapi.json", func(c *gin.Context) {
		c.Data(http.StatusOK, "application/openapi+json", s.openapi)
	})
	s.addDocs(api.OpenAPI())
	return nil
}

// schemaName puts the package before a type's name, so that two packages may
// both have a Report.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch pkg := path.Base(t.PkgPath()); pkg {
	case "", ".", "driftgate", "web", "huma", "v2":
		return name
	default:
		return strings.ToUpper(pkg[:1]) + pkg[1:] + strings.TrimPrefix(name, strings.ToUpper(pkg[:1])+pkg[1:])
	}
}

// op describes an operation of the API.
func op(id, method, route, tag, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: apiBase + route, Tags: []string{tag}, Summary: summary,
		Security: []map[string][]string{{"token": {}}}, MaxBodyBytes: maxJSONBytes,
		Errors: []int{http.StatusUnauthorized, http.StatusUnprocessableEntity},
	}
}

// register adds an operation whose errors are turned into problem documents.
func register[I, O any](s *server, api huma.API, o huma.Operation, h func(context.Context, *I) (*O, error)) {
	huma.Register(api, o, func(ctx context.Context, in *I) (*O, error) {
		answer, err := h(ctx, in)
		if err != nil {
			return nil, s.apiError(ctx, err)
		}
		return answer, nil
	})
}

// notHere is the answer for a service that was not given.
func notHere(what string) error {
	return newProblem(http.StatusNotImplemented, what+" is not part of this gateway")
}

// documentRootRoutes describes the routes that gin answers itself, so that the
// OpenAPI document has all that a program may call.
func (s *server) documentRootRoutes(doc *huma.OpenAPI) {
	text := func(description string) map[string]*huma.Response {
		return map[string]*huma.Response{"200": {Description: description}}
	}
	image := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: &huma.Schema{Type: "object", Required: []string{"image"}, Properties: map[string]*huma.Schema{
			"image": {Type: "string", Description: "a JPEG or PNG image, base64"}}}},
		"multipart/form-data": {Schema: &huma.Schema{Type: "object", Required: []string{"file"}, Properties: map[string]*huma.Schema{
			"file": {Type: "string", Format: "binary"}}}},
	}}
	key := []*huma.Param{{Name: "key", In: "path", Required: true, Description: "as POST /predict answered it, slash included", Schema: &huma.Schema{Type: "string"}}}
	for _, o := range []*huma.Operation{
		{Method: "POST", Path: "/predict", Summary: "Classify an image and keep it", RequestBody: image, Responses: map[string]*huma.Response{
			"200": {Description: "the prediction; durable when you read this", Content: map[string]*huma.MediaType{
				"application/json": {Schema: doc.Components.Schemas.Schema(reflect.TypeFor[prediction](), true, "Prediction")}}},
			"400": {Description: "no image that can be read"}, "413": {Description: "too large"}, "503": {Description: "the spool is full, or no model is loaded"}}},
		{Method: "POST", Path: "/flag/{key}", Summary: "Doubt a prediction", Parameters: key, Responses: map[string]*huma.Response{"204": {Description: "flagged"}}},
		{Method: "POST", Path: "/correct-label/{key}", Summary: "Say what an image shows (form field or JSON corrected_class)", Parameters: key,
			Responses: map[string]*huma.Response{"204": {Description: "kept"}, "422": {Description: "no class of the model"}}},
		{Method: "GET", Path: "/version", Summary: "The model that answers now", Responses: text("model_version, digest, classes")},
		{Method: "GET", Path: "/-/healthy", Summary: "The process answers", Responses: text("healthy")},
		{Method: "GET", Path: "/-/ready", Summary: "A verified model is loaded", Responses: text("ready")},
		{Method: "POST", Path: "/pipeline/start", Summary: "Start a retraining (old name)", Responses: map[string]*huma.Response{"202": {Description: "started"}, "423": {Description: "one is under way"}}},
		{Method: "POST", Path: "/trigger-training", Summary: "Start a retraining (old name)", Responses: map[string]*huma.Response{"202": {Description: "started"}, "423": {Description: "one is under way"}}},
		{Method: "GET", Path: "/metrics", Summary: "Prometheus metrics", Responses: text("the exposition format")},
		{Method: "POST", Path: apiBase + "/alerts", Summary: "Alertmanager's webhook, payload version 4", Responses: map[string]*huma.Response{
			"202": {Description: "every alert that asks for a retraining is recorded"}, "200": {Description: "read, and none asks for one"}, "400": {Description: "no such payload"}}},
	} {
		o.Tags = []string{"Model server"}
		doc.AddOperation(o)
	}
}

package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

type docsPage struct {
	layout
	About  string
	Groups []docsGroup
}

type docsGroup struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary string
	Open                      bool
	Fields                    []docsField // parameters, then the body's fields
	Answers                   []docsAnswer
}

type docsField struct {
	Name, In, Type, Text string
	Required             bool
}

type docsAnswer struct {
	Status, Text string
	Fields       []docsField
}

// addDocs renders the OpenAPI document as a page: once, since it never changes.
func (s *server) addDocs(doc *huma.OpenAPI) {
	page := docsPage{About: doc.Info.Description}
	groups := map[string]*docsGroup{}
	for path, item := range doc.Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post} {
			if op == nil {
				continue
			}
			tag := op.Tags[0]
			if groups[tag] == nil {
				groups[tag] = &docsGroup{Name: tag}
			}
			groups[tag].Operations = append(groups[tag].Operations, s.documented(doc, method, path, op))
		}
	}
	order := []string{"Model server", "Loop", "Labels", "Models", "Runs"}
	for _, g := range groups {
		slices.SortFunc(g.Operations, func(a, b docsOperation) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
		})
		page.Groups = append(page.Groups, *g)
	}
	slices.SortFunc(page.Groups, func(a, b docsGroup) int {
		return cmp.Compare(slices.Index(order, a.Name), slices.Index(order, b.Name))
	})
	s.handle(needsToken, http.MethodGet, "/docs", func(c *gin.Context) {
		shown := page
		shown.layout = s.layout(c, "docs", "API")
		s.page(c, http.StatusOK, "docs", shown)
	})
}

func (s *server) documented(doc *huma.OpenAPI, method, path string, op *huma.Operation) docsOperation {
	d := docsOperation{ID: strings.Trim(strings.NewReplacer("/", "-", "{", "", "}", "").Replace(strings.ToLower(method)+path), "-"),
		Method: method, Path: path, Summary: op.Summary, Open: s.routes[method+" "+strings.ReplaceAll(path, "{key}", "*key")] == isOpen}
	for _, p := range op.Parameters {
		d.Fields = append(d.Fields, docsField{p.Name, p.In, typeText(p.Schema), cmp.Or(p.Description, p.Schema.Description), p.Required})
	}
	if op.RequestBody != nil {
		if m := op.RequestBody.Content["application/json"]; m != nil {
			d.Fields = append(d.Fields, bodyFields(doc, m.Schema, "body")...)
		}
	}
	for status, r := range op.Responses {
		a := docsAnswer{Status: status, Text: r.Description}
		if m := r.Content["application/json"]; m != nil && strings.HasPrefix(status, "2") {
			a.Fields = bodyFields(doc, m.Schema, "answer")
		}
		d.Answers = append(d.Answers, a)
	}
	slices.SortFunc(d.Answers, func(a, b docsAnswer) int { return cmp.Compare(a.Status, b.Status) })
	return d
}

// bodyFields lists the fields of an object schema, in order of their names.
func bodyFields(doc *huma.OpenAPI, schema *huma.Schema, in string) []docsField {
	if schema == nil {
		return nil
	}
	if schema.Ref != "" {
		schema = doc.Components.Schemas.SchemaFromRef(schema.Ref)
	}
	if schema == nil {
		return nil
	}
	var fields []docsField
	for name, p := range schema.Properties {
		fields = append(fields, docsField{name, in, typeText(p), p.Description, slices.Contains(schema.Required, name)})
	}
	slices.SortFunc(fields, func(a, b docsField) int { return cmp.Compare(a.Name, b.Name) })
	return fields
}

// typeText names a schema's type in a word or two.
func typeText(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return s.Ref[strings.LastIndex(s.Ref, "/")+1:]
	case s.Type == "array":
		return "list of " + typeText(s.Items)
	case s.Format != "":
		return s.Format
	}
	return cmp.Or(s.Type, "any")
}

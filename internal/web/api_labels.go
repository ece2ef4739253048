package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
)

// taskBody is one question to a person.
type taskBody struct {
	ID             string     `json:"id"`
	Key            string     `json:"key"`
	Image          string     `json:"image" doc:"where to get the image"`
	PredictedClass string     `json:"predicted_class"`
	Confidence     *float64   `json:"confidence" doc:"0 to 1; null when the model gave none"`
	CorrectedClass string     `json:"corrected_class,omitempty" doc:"what the user said"`
	Flagged        bool       `json:"flagged"`
	Stratum        dg.Stratum `json:"stratum" doc:"why it was picked"`
	ModelVersion   string     `json:"model_version"`
	Timestamp      time.Time  `json:"timestamp" doc:"of the prediction"`
}

func taskOf(t labelling.Task) taskBody {
	b := taskBody{t.ID, t.Key, taskImagePath(t.ID), t.PredictedClass, nil, t.CorrectedClass, t.Flagged, t.Stratum, t.ModelVersion, t.Timestamp}
	if !math.IsNaN(t.Confidence) {
		b.Confidence = &t.Confidence
	}
	return b
}

func taskImagePath(id string) string { return apiBase + "/labels/images/" + keyPath(id) }

type taskList struct {
	Tasks    []taskBody    `json:"tasks"`
	Classes  dg.Classes    `json:"classes"`
	Progress labelProgress `json:"progress"`
}

type labelProgress struct {
	Waiting  int `json:"waiting" doc:"picked, and somebody is still to answer"`
	Answered int `json:"answered" doc:"answered by as many people as are asked, not collected"`
	Labelled int `json:"labelled" doc:"ever, in the clean bucket"`
}

func progressOf(p ledger.LabelProgress) labelProgress {
	return labelProgress{p.Waiting, p.Answered, p.Labelled}
}

// AnnotatorInput names who labels (exported, since huma reads no fields of an
// unexported embedded struct). The names keep two people from getting the
// same task, and one person from being asked twice where several are.
type AnnotatorInput struct {
	Header string `header:"X-Annotator" maxLength:"64" doc:"who labels; default api"`
	Query  string `query:"annotator" maxLength:"64" doc:"the same, where headers can't be set"`
}

var annotatorForm = regexp.MustCompile(`^[\p{L}\p{N}_.@+ -]{1,64}$`)

func (a AnnotatorInput) name(further ...string) (string, error) {
	name := cmp.Or(append([]string{a.Header, a.Query}, append(further, "api")...)...)
	if !annotatorForm.MatchString(name) {
		return "", fmt.Errorf("annotator %q: want 1 to 64 letters, digits, spaces and _ . @ + -: %w", name, dg.ErrInvalid)
	}
	return name, nil
}

// addLabelAPI registers the labelling operations.
func (s *server) addLabelAPI(api huma.API) {
	register(s, api, op("label-tasks", "GET", "/labels/tasks", "Labels", "Lease images to label"), s.getTasks)
	label := op("label", "POST", "/labels", "Labels", "Answer: this image shows that class")
	label.Errors = append(label.Errors, http.StatusNotFound, http.StatusConflict)
	register(s, api, label, func(ctx context.Context, in *struct {
		AnnotatorInput
		Body struct {
			ID    string `json:"id" minLength:"1" maxLength:"1024"`
			Label string `json:"label" minLength:"1" maxLength:"256"`
			Who   string `json:"annotator,omitempty" maxLength:"64" doc:"who labels, if neither header nor query says so"`
		}
	}) (*struct{}, error) {
		who, err := in.name(in.Body.Who)
		if err != nil {
			return nil, err
		}
		return nil, s.d.Labelling.Answer(ctx, who, in.Body.ID, in.Body.Label)
	})
	register(s, api, op("skip-label", "POST", "/labels/skip", "Labels", "Give an image back unanswered"), func(ctx context.Context, in *struct {
		AnnotatorInput
		Body struct {
			ID string `json:"id" minLength:"1" maxLength:"1024"`
		}
	}) (*struct{}, error) {
		who, err := in.name()
		if err != nil {
			return nil, err
		}
		return nil, s.d.Labelling.Skip(ctx, who, in.Body.ID)
	})
	undo := op("undo-label", "POST", "/labels/undo", "Labels", "Take the last answer back")
	undo.Errors = append(undo.Errors, http.StatusNotFound, http.StatusConflict)
	register(s, api, undo, func(ctx context.Context, in *AnnotatorInput) (*out[taskBody], error) {
		who, err := in.name()
		if err != nil {
			return nil, err
		}
		t, err := s.d.Labelling.Undo(ctx, who)
		return answer(taskOf(t)), err
	})
	withdraw := op("withdraw-label", "POST", "/labels/withdraw", "Labels", "Take a collected label back")
	withdraw.Description = "The label's object leaves the clean bucket; at the next pass over the buckets the label leaves every window, and people are asked again. Counters and closed alarm slots stay as they are."
	withdraw.Errors = append(withdraw.Errors, http.StatusNotFound)
	register(s, api, withdraw, func(ctx context.Context, in *struct {
		Body struct {
			ID string `json:"id" minLength:"1" maxLength:"1024"`
		}
	}) (*struct{}, error) {
		return nil, s.d.Labelling.Withdraw(ctx, in.Body.ID)
	})
	register(s, api, op("label-progress", "GET", "/labels/progress", "Labels", "How far labelling has come"),
		func(ctx context.Context, _ *none) (*out[labelProgress], error) {
			p, err := s.d.Labelling.Progress(ctx)
			return answer(progressOf(p)), err
		})
	s.addLabelFiles(api)
	s.handle(needsToken, http.MethodGet, apiBase+"/labels/images/:id", s.taskImage)
}

type tasksInput struct {
	AnnotatorInput
	N int `query:"n" default:"10" minimum:"1" maximum:"100"`
}

func (s *server) getTasks(ctx context.Context, in *tasksInput) (*out[taskList], error) {
	who, err := in.name()
	if err != nil {
		return nil, err
	}
	tasks, err := s.d.Labelling.Lease(ctx, who, in.N)
	if err != nil {
		return nil, err
	}
	p, err := s.d.Labelling.Progress(ctx)
	if err != nil {
		return nil, err
	}
	list := taskList{Tasks: []taskBody{}, Classes: s.d.Serving.Classes(), Progress: progressOf(p)}
	for _, t := range tasks {
		list.Tasks = append(list.Tasks, taskOf(t))
	}
	return answer(list), nil
}

// addLabelFiles registers import and export.
func (s *server) addLabelFiles(api huma.API) {
	imports := op("import-labels", "POST", "/labels/import", "Labels", "Take labels from a file")
	imports.MaxBodyBytes, imports.BodyReadTimeout = maxLabelBytes, time.Minute
	register(s, api, imports, func(ctx context.Context, in *struct {
		AnnotatorInput
		Format  string `query:"format" enum:"csv,json" default:"csv"`
		RawBody []byte `contentType:"application/octet-stream"`
	}) (*out[labelling.ImportReport], error) {
		who, err := in.name()
		if err != nil {
			return nil, err
		}
		r, err := s.d.Labelling.Import(ctx, bytes.NewReader(in.RawBody), in.Format, who)
		return answer(r), err
	})
	exports := op("export-labels", "GET", "/labels/export", "Labels", "All human labels as a file")
	exports.Responses = map[string]*huma.Response{"200": {Description: "the labels", Content: map[string]*huma.MediaType{"text/csv": {}, "application/json": {}}}}
	register(s, api, exports, func(_ context.Context, in *struct {
		Format string `query:"format" enum:"csv,json" default:"csv"`
	}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) { s.export(hc, in.Format) }}, nil
	})
}

// export writes the file as it is made; an error in its middle breaks the
// connection, so that half a file never looks whole.
func (s *server) export(hc huma.Context, format string) {
	kind := map[string]string{"csv": "text/csv; charset=utf-8", "json": "application/json"}[format]
	hc.SetHeader("Content-Type", kind)
	hc.SetHeader("Content-Disposition", `attachment; filename="labels.`+format+`"`)
	if _, err := s.d.Labelling.Export(hc.Context(), hc.BodyWriter(), format); err != nil {
		s.log.ErrorContext(hc.Context(), "export labels", "error", err)
		panic(http.ErrAbortHandler)
	}
}

func (s *server) taskImage(c *gin.Context) {
	body, kind, err := s.d.Labelling.Image(c.Request.Context(), c.Param("id"))
	if err != nil {
		s.fail(c, err)
		return
	}
	sendImage(c, body, kind)
}

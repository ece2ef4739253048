package web

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/serving"
)

// prediction is the JSON answer to POST /predict. The first two fields are
// those of the old model server.
type prediction struct {
	Prediction   string           `json:"prediction"`
	Probability  float64          `json:"probability"`
	Key          string           `json:"key"`
	ModelVersion string           `json:"model_version"`
	Top          []serving.Ranked `json:"top"`
}

// upload is an image as it came in.
type upload struct {
	body []byte
	name string
	form bool // it came from a form: a page is the natural answer
}

// predict answers POST /predict: JSON {"image": base64}, or the multipart field
// file.
func (s *server) predict(c *gin.Context) {
	up, err := s.readUpload(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	p, err := s.classify(c, up)
	if err != nil {
		s.fail(c, err)
		return
	}
	if up.form && !wantsJSON(c.Request) {
		s.page(c, http.StatusOK, "predict", s.predictPage(c, &p, up))
		return
	}
	c.JSON(http.StatusOK, prediction{p.Label, p.Probability, p.Key, p.ModelVersion, p.Top})
}

// classify predicts when there is room: at most MaxInFlight at once.
func (s *server) classify(c *gin.Context, up upload) (serving.Prediction, error) {
	ctx := c.Request.Context()
	wait := time.NewTimer(waitForRoom)
	defer wait.Stop()
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
	case <-wait.C:
		return serving.Prediction{}, fmt.Errorf("%d predictions are under way, try again in a moment: %w", s.o.MaxInFlight, dg.ErrFull)
	case <-ctx.Done():
		return serving.Prediction{}, ctx.Err()
	}
	p, err := s.d.Serving.Predict(ctx, up.body, up.name)
	if errors.Is(err, dg.ErrInvalid) { // what came is no image that we read: the request's fault
		return p, newProblem(http.StatusBadRequest, err.Error())
	}
	return p, err
}

// readUpload takes the image out of the request, whichever way it travels.
func (s *server) readUpload(c *gin.Context) (upload, error) {
	kind, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err != nil && c.GetHeader("Content-Type") != "" {
		return upload{}, newProblem(http.StatusUnsupportedMediaType, "Content-Type can't be read: want application/json or multipart/form-data")
	}
	switch kind {
	case "multipart/form-data":
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, s.o.MaxUploadBytes+maxFormBytes)
		return s.readMultipart(c)
	case "application/json", "":
		limit := base64.StdEncoding.EncodedLen(int(s.o.MaxUploadBytes)) + maxFormBytes
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, int64(limit))
		return s.readJSON(c.Request.Body)
	}
	return upload{}, newProblem(http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Type %s: want application/json or multipart/form-data", clip(kind, 80)))
}

func (s *server) readMultipart(c *gin.Context) (upload, error) {
	parts, err := c.Request.MultipartReader()
	if err != nil {
		return upload{}, newProblem(http.StatusBadRequest, "the form can't be read: "+err.Error())
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return upload{}, newProblem(http.StatusUnprocessableEntity, "the form has no field file with an image")
		}
		if err != nil {
			return upload{}, bodyError("the form can't be read", err)
		}
		if part.FormName() != "file" {
			continue
		}
		body, err := io.ReadAll(io.LimitReader(part, s.o.MaxUploadBytes+1))
		if err != nil {
			return upload{}, bodyError("the upload can't be read", err)
		}
		if int64(len(body)) > s.o.MaxUploadBytes {
			return upload{}, &http.MaxBytesError{Limit: s.o.MaxUploadBytes}
		}
		if len(body) == 0 {
			return upload{}, newProblem(http.StatusUnprocessableEntity, "the field file is empty: choose an image first")
		}
		return upload{body: body, name: part.FileName(), form: true}, nil
	}
}

func (s *server) readJSON(r io.Reader) (upload, error) {
	var in struct {
		Image *string `json:"image"`
	}
	dec := json.NewDecoder(r)
	if err := dec.Decode(&in); err != nil {
		return upload{}, bodyError(`the body is not the JSON {"image": base64}`, err)
	}
	if in.Image == nil {
		return upload{}, newProblem(http.StatusUnprocessableEntity, `the field image is missing: want {"image": base64}`)
	}
	text := *in.Image
	if strings.HasPrefix(text, "data:") { // as browsers make them
		_, text, _ = strings.Cut(text, ",")
	}
	body, err := decodeBase64(text)
	if err != nil {
		return upload{}, newProblem(http.StatusBadRequest, "the field image is not base64: "+err.Error())
	}
	if int64(len(body)) > s.o.MaxUploadBytes {
		return upload{}, &http.MaxBytesError{Limit: s.o.MaxUploadBytes}
	}
	return upload{body: body}, nil
}

// decodeBase64 reads both alphabets, padded or not, over several lines or one.
func decodeBase64(text string) ([]byte, error) {
	text = strings.TrimRight(strings.NewReplacer("\n", "", "\r", "", " ", "").Replace(text), "=")
	if strings.ContainsAny(text, "-_") {
		return base64.RawURLEncoding.DecodeString(text)
	}
	return base64.RawStdEncoding.DecodeString(text)
}

// bodyError keeps "too large" apart from "makes no sense".
func bodyError(what string, err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	if late := lateBody(err); late != nil {
		return late
	}
	return newProblem(http.StatusBadRequest, what+": "+err.Error())
}

// lateBody answers a client whose body did not come within the server's time,
// and is nil for every other error.
func lateBody(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return newProblem(http.StatusRequestTimeout, "the request's body did not come in time: send it again, faster")
}

// keyOf returns the object key at the end of the path.
func keyOf(c *gin.Context) (string, error) {
	key := strings.TrimPrefix(c.Param("key"), "/")
	if _, _, err := dg.ParseKey(key); err != nil {
		return "", fmt.Errorf("no prediction has the key %q: %w", clip(key, 200), dg.ErrNotFound)
	}
	return key, nil
}

// flag answers POST /flag/{key}: 204, or the page again for a plain form.
func (s *server) flag(c *gin.Context) {
	key, err := keyOf(c)
	if err == nil {
		err = s.d.Serving.Flag(c.Request.Context(), key)
	}
	s.doneWith(c, err, "Thank you: the image is flagged, and a person will look at it.")
}

// correct answers POST /correct-label/{key} with the class in the form field
// corrected_class or the JSON field of that name.
func (s *server) correct(c *gin.Context) {
	key, err := keyOf(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	class, err := correctedClass(c)
	if err == nil {
		err = s.d.Serving.Correct(c.Request.Context(), key, class)
	}
	s.doneWith(c, err, "Thank you: your correction is kept, and a person will look at it.")
}

func correctedClass(c *gin.Context) (string, error) {
	const want = "the field corrected_class is missing: want a class of the model"
	if strings.HasPrefix(c.GetHeader("Content-Type"), "application/json") {
		var in struct {
			Class *string `json:"corrected_class"`
		}
		if err := json.NewDecoder(c.Request.Body).Decode(&in); err != nil {
			return "", bodyError(`the body is not the JSON {"corrected_class": "..."}`, err)
		}
		if in.Class == nil {
			return "", newProblem(http.StatusUnprocessableEntity, want)
		}
		return *in.Class, nil
	}
	if err := c.Request.ParseMultipartForm(maxFormBytes); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return "", bodyError("the form can't be read", err)
	}
	class := c.Request.PostFormValue("corrected_class")
	if class == "" {
		return "", newProblem(http.StatusUnprocessableEntity, want)
	}
	return class, nil
}

// doneWith ends a flag or a correction. The contract's answer is 204; only a
// browser without script, which would show nothing then, gets a page.
func (s *server) doneWith(c *gin.Context, err error, thanks string) {
	switch {
	case err != nil:
		s.fail(c, err)
	case wantsHTML(c.Request) && c.GetHeader("Sec-Fetch-Mode") == "navigate":
		s.page(c, http.StatusOK, "thanks", thanksPage{s.layout(c, "predict", "Thank you"), thanks})
	default:
		c.Status(http.StatusNoContent)
		c.Writer.WriteHeaderNow()
	}
}

func (s *server) version(c *gin.Context) {
	ref := s.d.Serving.Version()
	c.JSON(http.StatusOK, gin.H{"model_version": ref.Short(), "digest": ref, "model": s.o.Model, "classes": s.d.Serving.Classes(), "driftgate": s.o.Version})
}

// image shows a stored production image to people with the token: uploads are
// other people's photos.
func (s *server) image(c *gin.Context) {
	key, err := keyOf(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	body, kind, err := s.d.Serving.Image(c.Request.Context(), key)
	if err != nil {
		s.fail(c, err)
		return
	}
	sendImage(c, body, kind)
}

// sendImage sends stored bytes so that a browser can't take them for anything
// but a picture.
func sendImage(c *gin.Context, body []byte, kind string) {
	if !strings.HasPrefix(kind, "image/") || strings.Contains(kind, "svg") {
		if kind = http.DetectContentType(body); !strings.HasPrefix(kind, "image/") {
			kind = "application/octet-stream"
		}
	}
	c.Header("Cache-Control", "private, max-age=3600")
	c.Header("Content-Security-Policy", "default-src 'none'; sandbox")
	c.Data(http.StatusOK, kind, body)
}

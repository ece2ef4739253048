package web

import (
	"encoding/base64"
	"html/template"
	"net/http"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/serving"
)

type predictPage struct {
	layout
	Result    *serving.Prediction
	Preview   template.URL // the upload itself, as a data URI; nothing is stored for it
	Classes   dg.Classes
	MaxUpload string
	Loaded    bool // a model answers
}

func (s *server) getPredict(c *gin.Context) {
	s.page(c, http.StatusOK, "predict", s.predictPage(c, nil, upload{}))
}

func (s *server) predictPage(c *gin.Context, p *serving.Prediction, up upload) predictPage {
	page := predictPage{
		layout: s.layout(c, "predict", "Predict"), Result: p, Classes: s.d.Serving.Classes(),
		MaxUpload: bytesText(s.o.MaxUploadBytes), Loaded: s.d.Serving.Version() != "",
	}
	if kind := http.DetectContentType(up.body); p != nil && (kind == "image/jpeg" || kind == "image/png") {
		// Not attacker's text: a fixed prefix and base64.
		page.Preview = template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(up.body))
	}
	return page
}

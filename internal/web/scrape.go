package web

import (
	"fmt"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsHandler shows the gatherer as the client asks by Accept: the text
// format, OpenMetrics (which carries exemplars), or protobuf (which alone
// carries native histograms). The created timestamps of OpenMetrics 1.0 stay
// out: they double the series, and Prometheus takes them for series of their
// own.
func (s *server) metricsHandler() gin.HandlerFunc {
	if s.d.Gatherer == nil {
		return s.missing("/metrics")
	}
	h := promhttp.HandlerFor(s.d.Gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8,
		ErrorLog: promLog{s.log},
	})
	return gin.WrapH(h)
}

type promLog struct {
	log interface{ Error(string, ...any) }
}

func (l promLog) Println(v ...any) { l.log.Error("metrics", "error", fmt.Sprint(v...)) }

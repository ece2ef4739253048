package web

import (
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/serving"
	"driftgate/internal/trigger"
	"driftgate/metrics"
)

// The real services fit.
var (
	_ Serving   = (*serving.Service)(nil)
	_ Labelling = (*labelling.Service)(nil)
	_ Accuracy  = (*metrics.Metrics)(nil)
	_ Ledger    = (*ledger.Ledger)(nil)
	_ Inbox     = (*trigger.Inbox)(nil)
)

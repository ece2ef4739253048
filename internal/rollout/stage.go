package rollout

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
)

// ParseStage reads a stage as people write it: "shadow 30m", "canary 5% 1h".
// duration reads its last word. The error is [dg.ErrInvalid].
func ParseStage(text string, duration func(string) (time.Duration, error)) (Stage, error) {
	words := strings.Fields(text)
	bad := func(what string) (Stage, error) {
		return Stage{}, fmt.Errorf("stage %q: %s: want such as \"shadow 30m\" or \"canary 5%% 1h\": %w", text, what, dg.ErrInvalid)
	}
	if len(words) == 0 {
		return bad("empty")
	}
	s := Stage{Stage: dg.Stage(words[0])}
	switch {
	case s.Stage == dg.Shadow && len(words) == 2:
	case s.Stage == dg.Canary && len(words) == 3:
		share, err := ParseShare(words[1])
		if err != nil {
			return bad(err.Error())
		}
		s.Share = share
	case s.Stage == dg.Shadow || s.Stage == dg.Canary:
		return bad(fmt.Sprintf("%d words", len(words)))
	default:
		return bad("no such stage")
	}
	d, err := duration(words[len(words)-1])
	if err != nil {
		return bad(err.Error())
	}
	s.For = d
	return s, nil
}

// ParseShare reads a share of the traffic: "5%" or "0.05"; over 0, at most 1.
// The error is [dg.ErrInvalid].
func ParseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	x, err := strconv.ParseFloat(number, 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x > 0 && x <= 1) { // also refuses NaN
		return 0, fmt.Errorf("share %q: want over 0%% and at most 100%%, as 5%% or 0.05: %w", text, dg.ErrInvalid)
	}
	return x, nil
}

// String is the stage as [ParseStage] reads it.
func (s Stage) String() string {
	if s.Stage == dg.Canary {
		return fmt.Sprintf("%s %s%% %s", s.Stage, strconv.FormatFloat(100*s.Share, 'g', 6, 64), s.For)
	}
	return fmt.Sprintf("%s %s", s.Stage, s.For)
}

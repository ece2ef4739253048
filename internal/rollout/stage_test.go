package rollout

import (
	"errors"
	"testing"
	"time"

	dg "driftgate"
)

func TestStagesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]Stage{
		"shadow 30m":       {dg.Shadow, 0, 30 * time.Minute},
		"canary 5% 1h":     {dg.Canary, .05, time.Hour},
		" canary  0.25 2h": {dg.Canary, .25, 2 * time.Hour},
	} {
		got, err := ParseStage(text, time.ParseDuration)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseStage(got.String(), time.ParseDuration); err != nil || again != want {
			t.Errorf("%q is written as %q, which reads as %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "shadow", "shadow 5% 1h", "canary 1h", "canary 5 1h", "canary 0% 1h", "canary NaN 1h", "canary -5% 1h", "blue 1h", "canary 5% soon", "canary 5% 1h 2h"} {
		if _, err := ParseStage(text, time.ParseDuration); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%q: %v, want invalid", text, err)
		}
	}
}

package demo

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"driftgate"
	"driftgate/internal/config"
	"driftgate/internal/dataset"
)

func TestTheClockRunsAsFastAsToldAndNeverBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Date(2026, 11, 8, 0, 0, 0, 0, time.UTC)
		c := NewClock(start)
		time.Sleep(time.Minute)
		if !c.Now().Equal(start) {
			t.Errorf("before it runs it shows %s", c.Now())
		}
		c.Run(9000)
		time.Sleep(2 * time.Second)
		if got := c.Now().Sub(start); got != 5*time.Hour {
			t.Errorf("2 s at 9000 times are %s, want 5h", got)
		}
		c.Run(0)
		time.Sleep(time.Hour)
		c.Run(1)
		time.Sleep(time.Second)
		if got := c.Now().Sub(start); got != 5*time.Hour+time.Second {
			t.Errorf("after a halt and a second: %s", got)
		}
	})
}

func TestTheDemosSettingsAreValid(t *testing.T) {
	if err := settings(config.Default()).Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestSparkKeepsItsScaleAndItsGaps(t *testing.T) {
	if got := spark([]float64{0, 0.5, 1, math.NaN(), 2, -1}); got != "▁▅█ █▁" {
		t.Errorf("got %q", got)
	}
}

func TestAReplayShowsEachImageOnce(t *testing.T) {
	set := dataset.Synthetic(dataset.SyntheticOptions{Seed: 1, Train: 10, Test: 30})
	r := newReplay(set, rand.New(rand.NewPCG(1, 1)))
	seen := map[string]bool{}
	for range set.Test.Len() {
		png, _, err := r.Draw(false)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(png)] = true
	}
	if len(seen) != set.Test.Len() {
		t.Errorf("%d different images of %d", len(seen), set.Test.Len())
	}
	if _, _, err := r.Draw(false); err == nil {
		t.Error("a second showing would leak from training set to holdout")
	}
}

func TestDriftTurnsWhatIsDrawn(t *testing.T) {
	world := func() *garments { return &garments{rand.New(rand.NewPCG(5, 5))} }
	calm, class, err := world().Draw(false)
	turned, class2, err2 := world().Draw(true)
	if err != nil || err2 != nil || class != class2 || string(calm) == string(turned) {
		t.Errorf("same garment, same picture: %v %v, classes %d and %d", err, err2, class, class2)
	}
}

func TestTheStoryWantsANewFolder(t *testing.T) {
	dir := t.TempDir()
	if err := unused(dir); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if err := unused(filepath.Join(dir, "new")); err != nil {
		t.Errorf("a folder to be made: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unused(dir); !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), "new folder") {
		t.Errorf("a used folder: %v", err)
	}
}

package serving

import (
	"context"
	"fmt"
	"image"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// shadowQueue and shadowBytes bound the images that may wait for the
// challenger's opinion. What comes beyond is counted as dropped: nobody waits
// for a shadow.
const (
	shadowQueue = 64
	shadowBytes = 64 << 20
)

// The outcomes of a challenger's answer in the shadow.
const (
	shadowAgree    = "agree"
	shadowDisagree = "disagree"
	shadowDropped  = "dropped" // the queue was full
	shadowFailed   = "failed"  // no answer, or one that is no probability
)

// challenger is the model that is tried beside the champion.
type challenger struct {
	*model
	exposure dg.Exposure
}

// shadowed is an image that the champion has answered and the challenger not.
type shadowed struct {
	by   *challenger
	best int // the champion's class
	body []byte
}

// SwapChallenger exposes c as e says, from the next request on; nil exposes
// nothing. In the shadow it answers what the champion has answered, off the
// request's path, and only the agreement is counted. As a canary it answers
// its share of the uploads; where it has no answer, the champion's is given.
// A challenger that sorts into other classes is not exposed.
func (s *Service) SwapChallenger(c *network.Classifier, e dg.Exposure) {
	if c == nil || e.Challenger == "" {
		s.expose(nil)
		return
	}
	s.expose(&challenger{&model{predict: c.PredictFeatures, sketch: sketchOf(e.Challenger, c.Features()),
		classes: c.Manifest().Classes, ref: e.Challenger}, e})
}

func (s *Service) expose(c *challenger) {
	s.swap.Lock()
	defer s.swap.Unlock()
	s.exposed.Store(c)
	s.metrics.exposed(c)
	s.metrics.forget(s.kept())
	if m := s.model.Load(); c != nil && m != nil && !slices.Equal(m.classes, c.classes) {
		s.o.Logger.Error("challenger not exposed: its classes are not the champion's", "challenger", c.ref.Short(), "champion", m.ref.Short())
	}
}

// kept are the versions whose series stay; the lock is held.
func (s *Service) kept() []string {
	var refs []string
	if m := s.model.Load(); m != nil {
		refs = append(refs, m.ref.Short())
	}
	if c := s.exposed.Load(); c != nil {
		refs = append(refs, c.ref.Short())
	}
	return refs
}

// beside returns the challenger that is tried against champion now; nil when
// there is none.
func (s *Service) beside(champion *model) *challenger {
	c := s.exposed.Load()
	if c == nil || !c.exposure.Exposes(champion.ref) || !slices.Equal(c.classes, champion.classes) {
		return nil
	}
	return c
}

// canary lets the challenger answer if the upload falls into its share. A
// canary without an answer is counted, and the champion answers instead.
func (s *Service) canary(c *challenger, img image.Image, upload []byte) (a answer, ok bool) {
	if c == nil || !c.exposure.Takes(upload) {
		return answer{}, false
	}
	defer func() {
		if p := recover(); p != nil {
			s.metrics.canaryFailures.Inc()
			s.failed(c, fmt.Errorf("panic: %v", p))
			a, ok = answer{}, false
		}
	}()
	a, err := c.answer(img)
	if err != nil {
		s.metrics.canaryFailures.Inc()
		s.failed(c, err)
		return answer{}, false
	}
	return a, true
}

// failed logs the first failure of a challenger; the counters have the others.
func (s *Service) failed(c *challenger, err error) {
	if s.faulty.Swap(c) != c {
		s.o.Logger.Error("the challenger has no answer; the champion's stands", "challenger", c.ref.Short(), "stage", c.exposure.Stage, "err", err)
	}
}

// shadow hands an answered image to the challenger, unless too many wait.
func (s *Service) shadow(c *challenger, best int, body []byte) {
	if c == nil || c.exposure.Stage != dg.Shadow {
		return
	}
	size := int64(len(body))
	if s.shadowed.Add(size) <= shadowBytes {
		select {
		case s.shadows <- shadowed{c, best, body}:
			return
		default:
		}
	}
	s.shadowed.Add(-size)
	s.metrics.shadowed(c, shadowDropped)
}

// answerShadows asks the challenger, one image at a time, until ctx ends.
func (s *Service) answerShadows(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case sh := <-s.shadows:
			s.metrics.shadowed(sh.by, s.opinion(ctx, sh))
			s.shadowed.Add(-int64(len(sh.body)))
		}
	}
}

// opinion is the outcome of one image. A challenger that panics has no answer;
// it must not end the gateway.
func (s *Service) opinion(ctx context.Context, sh shadowed) (outcome string) {
	defer func() {
		if p := recover(); p != nil {
			s.failed(sh.by, fmt.Errorf("panic: %v", p))
			outcome = shadowFailed
		}
	}()
	room := min(s.o.DecodeBytes, decodedBytes(sh.body))
	if s.decode.Acquire(ctx, room) != nil {
		return shadowDropped
	}
	defer s.decode.Release(room)
	start := time.Now()
	img, _, err := dataset.Decode(sh.body, s.o.Limits)
	if err != nil {
		s.failed(sh.by, err)
		return shadowFailed
	}
	a, err := sh.by.answer(img)
	if err != nil {
		s.failed(sh.by, err)
		return shadowFailed
	}
	s.metrics.shadowDuration.Observe(time.Since(start).Seconds())
	if a.order[0] == sh.best {
		return shadowAgree
	}
	return shadowDisagree
}

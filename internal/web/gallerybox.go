package web

import (
	"context"
	"slices"

	"github.com/gin-gonic/gin"

	"driftgate/evaluator"
)

// galleryBox is the images that two versions answer differently, or both wrong.
type galleryBox struct {
	gallery
	Tabs    []galleryTab
	Suites  []pairChoice
	Kind    evaluator.Discord
	Trouble string
	State   computing
	Next    string // address of the next page
	First   string // ... and of the first, on later ones
	A, B    string
}

type galleryTab struct {
	Words, Link string
	Count       int
	Current     bool
}

func (s *server) fillGallery(ctx context.Context, c *gin.Context, page *comparePage) error {
	pair := page.Pair
	g := &page.Gallery
	g.A, g.B = pair.A.Letter, pair.B.Letter
	if pair.Suite.Suite == "" {
		return nil
	}
	g.Kind = evaluator.Discord(c.Query("kind"))
	if !slices.Contains(evaluator.Discords, g.Kind) {
		g.Kind = evaluator.OnlyA
		if pair.Suite.OnlyA == 0 && pair.Suite.OnlyB > 0 {
			g.Kind = evaluator.OnlyB
		}
	}
	at := func(more ...string) string {
		return page.address(append([]string{"pair", pair.Name, "suite", pair.Suite.Suite}, more...)...) + "#gallery"
	}
	for _, t := range []galleryTab{
		{"Only " + g.A + " right", string(evaluator.OnlyA), pair.Suite.OnlyA, false},
		{"Only " + g.B + " right", string(evaluator.OnlyB), pair.Suite.OnlyB, false},
		{"Both wrong", string(evaluator.BothWrong), pair.Suite.BothWrong, false},
	} {
		t.Current = t.Link == string(g.Kind)
		t.Link = at("kind", t.Link)
		g.Tabs = append(g.Tabs, t)
	}
	after := c.Query("after")
	found, err := s.gallery(ctx, pair.A.Ref, pair.B.Ref, page.Over, galleryOf{pair.Suite.Suite, g.Kind, clip(after, 400), galleryPage}, pagePatience)
	if err != nil {
		if statusOf(err) >= 500 {
			return err
		}
		g.Trouble = problemOf(err, true).Detail
		return nil
	}
	g.gallery, g.State = found.Value, computingOf(found)
	if page.Refresh == 0 {
		page.Refresh = g.State.again()
	}
	if found.Value.Next != "" {
		g.Next = at("kind", string(g.Kind), "after", found.Value.Next)
	}
	if after != "" {
		g.First = at("kind", string(g.Kind))
	}
	return nil
}

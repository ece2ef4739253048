package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	dg "driftgate"
	"driftgate/internal/registry"
)

// modelBody is one artifact, without the long lists of its manifest.
type modelBody struct {
	Ref      dg.ModelRef  `json:"ref"`
	Version  string       `json:"version" doc:"the first twelve digits of ref"`
	Role     string       `json:"role" doc:"champion, previous or candidate"`
	SavedAt  time.Time    `json:"saved_at,omitzero"`
	Manifest manifestBody `json:"manifest"`
}

type manifestBody struct {
	Architecture string             `json:"architecture,omitempty"`
	Network      string             `json:"network,omitempty" doc:"its layers and the number of its weights, in a line"`
	Dataset      string             `json:"dataset,omitempty"`
	Parent       dg.ModelRef        `json:"parent,omitempty"`
	RunID        string             `json:"run_id,omitempty"`
	Samples      int                `json:"samples" doc:"images that it was trained on"`
	Counts       map[string]int     `json:"counts,omitempty" doc:"samples by source"`
	Seed         uint64             `json:"seed"`
	Epochs       int                `json:"epochs"`
	Metrics      map[string]float64 `json:"metrics,omitempty"`
}

type modelList struct {
	Models  []modelBody   `json:"models" doc:"newest first"`
	History []dg.Champion `json:"history" doc:"every champion record, newest first"`
}

func modelOf(e registry.Entry) modelBody {
	m := e.Manifest
	return modelBody{e.Ref, e.Ref.Short(), e.Role, e.SavedAt, manifestBody{
		m.Spec.Architecture, m.Spec.String(), m.Dataset, m.Parent, m.RunID, len(m.TrainedOn), m.Counts, m.Seed, m.Epochs, finite(m.Metrics),
	}}
}

// addModelAPI registers what lists, compares and moves models.
func (s *server) addModelAPI(api huma.API) {
	register(s, api, op("models", "GET", "/models", "Models", "Artifacts and the champions so far"), func(ctx context.Context, _ *none) (*out[modelList], error) {
		entries, history, err := s.modelsAndHistory(ctx)
		if err != nil {
			return nil, err
		}
		list := modelList{Models: []modelBody{}, History: orEmpty(history)}
		for _, e := range entries {
			list.Models = append(list.Models, modelOf(e))
		}
		return answer(list), nil
	})
	register(s, api, op("evaluate", "POST", "/evaluate", "Models", "Judge a challenger against the champion"), func(ctx context.Context, in *struct {
		Body struct {
			Challenger string `json:"challenger" minLength:"1" maxLength:"100" doc:"a version, or the beginning of one"`
		}
	}) (*out[dg.Comparison], error) {
		return s.compareRefs(ctx, "champion", in.Body.Challenger)
	})
	register(s, api, op("compare", "GET", "/compare", "Models", "Judge b as challenger of a on held-out labels"), func(ctx context.Context, in *struct {
		A string `query:"a" required:"true" maxLength:"100" doc:"a version, the beginning of one, champion or previous"`
		B string `query:"b" required:"true" maxLength:"100"`
	}) (*out[dg.Comparison], error) {
		return s.compareRefs(ctx, in.A, in.B)
	})
	s.addRolloutAPI(api)
	s.addCompareAPI(api)
	promote := op("promote", "POST", "/promote", "Models", "Make a version the champion")
	promote.Errors = append(promote.Errors, http.StatusNotFound, http.StatusConflict)
	register(s, api, promote, func(ctx context.Context, in *struct {
		Body struct {
			Ref    string `json:"ref" minLength:"1" maxLength:"100" doc:"a version, or the beginning of one"`
			Reason string `json:"reason,omitempty" maxLength:"2000"`
		}
	}) (*out[dg.Champion], error) {
		champion, err := s.promote(ctx, in.Body.Ref, in.Body.Reason)
		return answer(champion), err
	})
	rollback := op("rollback", "POST", "/rollback", "Models", "Make the previous champion serve again")
	rollback.Errors = append(rollback.Errors, http.StatusConflict)
	register(s, api, rollback, func(ctx context.Context, in *struct {
		Body struct {
			From   string `json:"from,omitempty" maxLength:"100" doc:"the version that you see serving, its twelve digits or its whole name; when another serves by now, nothing is moved"`
			Reason string `json:"reason,omitempty" maxLength:"2000"`
		}
	}) (*out[dg.Champion], error) {
		champion, err := s.rollback(ctx, in.Body.From, in.Body.Reason)
		return answer(champion), err
	})
	s.addArtifactAPI(api)
}

func (s *server) modelsAndHistory(ctx context.Context) ([]registry.Entry, []dg.Champion, error) {
	entries, err := s.d.Models.Models(ctx)
	if err != nil {
		return nil, nil, err
	}
	history, err := s.d.Models.History(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return nil, nil, err
	}
	return entries, newestChampionFirst(history), nil
}

func (s *server) compareRefs(ctx context.Context, a, b string) (*out[dg.Comparison], error) {
	c, err := s.compare(ctx, a, b)
	return answer(c), err
}

// compare judges b as challenger of a; both may be short.
func (s *server) compare(ctx context.Context, a, b string) (dg.Comparison, error) {
	if s.d.Compare == nil {
		return dg.Comparison{}, notHere("comparing models")
	}
	champion, err := s.d.Models.Resolve(ctx, a)
	if err != nil {
		return dg.Comparison{}, err
	}
	challenger, err := s.d.Models.Resolve(ctx, b)
	if err != nil {
		return dg.Comparison{}, err
	}
	if champion == challenger {
		return dg.Comparison{}, fmt.Errorf("a model compared with itself says nothing: name two versions: %w", dg.ErrInvalid)
	}
	c, err := s.d.Compare(ctx, champion, challenger)
	c.Reasons = orEmpty(c.Reasons)
	return c, err
}

// promote moves the champion record by a person's will. The record is read
// first and must not have moved when it is written.
func (s *server) promote(ctx context.Context, short, reason string) (dg.Champion, error) {
	reason, err := reasonOf(reason, "chosen by a person")
	if err != nil {
		return dg.Champion{}, err
	}
	ref, err := s.d.Models.Resolve(ctx, short)
	if err != nil {
		return dg.Champion{}, err
	}
	seen, err := s.d.Models.Champion(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return dg.Champion{}, err
	}
	if seen.Version == ref {
		return dg.Champion{}, fmt.Errorf("%s is the champion already: %w", ref.Short(), dg.ErrRefused)
	}
	return s.d.Models.Promote(ctx, ref, seen, "person: "+reason, "")
}

// rollback takes back from, the version that the person sees serving; empty is
// whatever serves. Two who roll back the same version do it once.
func (s *server) rollback(ctx context.Context, from, reason string) (dg.Champion, error) {
	reason, err := reasonOf(reason, "by a person")
	if err != nil {
		return dg.Champion{}, err
	}
	seen, err := s.d.Models.Champion(ctx)
	if errors.Is(err, dg.ErrNotFound) {
		return dg.Champion{}, fmt.Errorf("no model serves yet: %w", dg.ErrRefused)
	}
	if err != nil {
		return dg.Champion{}, err
	}
	if from != "" && from != seen.Version.Short() && from != string(seen.Version) {
		return dg.Champion{}, fmt.Errorf("%s serves by now, not %s: look again: %w", seen.Version.Short(), from, dg.ErrConflict)
	}
	return s.d.Models.Rollback(ctx, seen, reason)
}

package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	dg "driftgate"
	"driftgate/internal/rollout"
)

// moveBody is one move of a model, as the audit shows it.
type moveBody struct {
	At       time.Time       `json:"at"`
	Kind     string          `json:"kind" doc:"promotion, rollback, exposure, exposure_end or rejection"`
	Version  string          `json:"version" doc:"the first twelve digits"`
	Who      string          `json:"who" doc:"gate, rollout or person"`
	Why      string          `json:"why"`
	Evidence json.RawMessage `json:"evidence,omitempty" doc:"what it was decided on"`
}

type moveList struct {
	Moves []moveBody `json:"moves" doc:"newest first"`
}

// addRolloutAPI registers what tries a challenger on production, and the audit.
func (s *server) addRolloutAPI(api huma.API) {
	register(s, api, op("rollout", "GET", "/rollout", "Models", "What is tried on production or watched, and on what evidence"),
		func(ctx context.Context, _ *none) (*out[rollout.Status], error) {
			if s.d.Rollout == nil {
				return nil, notHere("rolling out")
			}
			st, err := s.d.Rollout(ctx)
			return answer(st), err
		})
	expose := op("expose", "POST", "/expose", "Models", "Try a version beside the champion, until a person or harm ends it")
	expose.Errors = append(expose.Errors, http.StatusNotFound, http.StatusConflict)
	register(s, api, expose, func(ctx context.Context, in *struct {
		Body struct {
			Ref    string   `json:"ref" minLength:"1" maxLength:"100" doc:"a version, or the beginning of one"`
			Stage  dg.Stage `json:"stage" enum:"shadow,canary"`
			Share  float64  `json:"share,omitempty" minimum:"0" maximum:"1" doc:"of the traffic that a canary answers"`
			Reason string   `json:"reason,omitempty" maxLength:"2000"`
		}
	}) (*out[dg.Exposure], error) {
		e, err := s.try(ctx, in.Body.Ref, in.Body.Stage, in.Body.Share, in.Body.Reason)
		return answer(e), err
	})
	end := op("end-exposure", "POST", "/expose/end", "Models", "End what is tried on production")
	end.Errors = append(end.Errors, http.StatusConflict)
	register(s, api, end, func(ctx context.Context, in *struct {
		Body struct {
			Reason string `json:"reason,omitempty" maxLength:"2000"`
		}
	}) (*out[dg.Exposure], error) {
		reason, err := reasonOf(in.Body.Reason, "by a person")
		if err != nil {
			return nil, err
		}
		e, err := s.d.Models.EndTrial(ctx, "person: "+reason)
		return answer(e), err
	})
	register(s, api, op("moves", "GET", "/moves", "Models", "Who moved which model, when, why, and on what evidence"),
		func(ctx context.Context, in *struct {
			Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000"`
		}) (*out[moveList], error) {
			moves, err := s.moves(ctx, in.Limit)
			return answer(moveList{moves}), err
		})
}

func (s *server) try(ctx context.Context, short string, stage dg.Stage, share float64, reason string) (dg.Exposure, error) {
	reason, err := reasonOf(reason, "chosen by a person")
	if err != nil {
		return dg.Exposure{}, err
	}
	switch {
	case stage == dg.Shadow && share != 0:
		return dg.Exposure{}, fmt.Errorf("a share of %g in the shadow: want none, nobody sees its answers: %w", share, dg.ErrInvalid)
	case stage == dg.Canary && !(share > 0 && share <= 1):
		return dg.Exposure{}, fmt.Errorf("a share of %g for a canary: want over 0, at most 1: %w", share, dg.ErrInvalid)
	}
	ref, err := s.d.Models.Resolve(ctx, short)
	if err != nil {
		return dg.Exposure{}, err
	}
	champion, err := s.d.Models.Champion(ctx)
	if err != nil {
		return dg.Exposure{}, err
	}
	if champion.Version == ref {
		return dg.Exposure{}, fmt.Errorf("%s is the champion already: %w", ref.Short(), dg.ErrRefused)
	}
	return s.d.Models.Try(ctx, ref, stage, share, "person: "+reason)
}

// moves is the audit, newest first.
func (s *server) moves(ctx context.Context, limit int) ([]moveBody, error) {
	events, err := s.d.Ledger.Moves(ctx, limit)
	moves := make([]moveBody, len(events))
	for i, e := range events {
		moves[i] = moveBody{e.At, e.Kind, e.ModelVersion, e.Who, e.Text, e.Evidence}
	}
	return moves, err
}

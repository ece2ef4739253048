package trigger

import (
	"fmt"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// day is the span of the budget: any 24 hours, not a calendar day, so that no
// burst fits around midnight.
const day = 24 * time.Hour

// Decide answers the firing or resolved trigger t with what the ledger knows.
// It is pure: now and the state are arguments, nothing is read or written. The
// note says why in one sentence.
func Decide(s ledger.TriggerState, t dg.Trigger, now time.Time, o Options) (dg.TriggerDecision, string) {
	switch {
	case !o.knows(t.Model):
		return dg.Ignored, fmt.Sprintf("model %q is not one of this gateway's", t.Model)
	case t.Resolved && s.Prior != nil:
		return dg.Duplicate, "this resolution was delivered before"
	case t.Resolved:
		return dg.Closed, resolutionNote(s, t)
	case !s.ResolvedAt.IsZero():
		return dg.Duplicate, "its resolution had already arrived"
	case !automatic(t.Source) && s.Prior != nil:
		return dg.Duplicate, "delivered before"
	case t.Source == dg.FromPerson:
		return room(s, now, o, false)
	case t.Source == dg.FromSchedule:
		return room(s, now, o, true)
	}
	return decideAutomatic(s, t, now, o)
}

// decideAutomatic answers a firing alarm or alert.
func decideAutomatic(s ledger.TriggerState, t dg.Trigger, now time.Time, o Options) (dg.TriggerDecision, string) {
	inc := openIncident(s, now, o)
	if p := s.Prior; p != nil {
		settled := p.Decision == dg.Accepted || p.Decision == dg.Joined
		if settled && (inc == nil || inc.ID != p.IncidentID || answered(*inc)) {
			return dg.Duplicate, "delivered before"
		}
		if t.Source == dg.FromAlarm && s.LastPromotion.After(p.DecidedAt) {
			return dg.Duplicate, "delivered before, and about a former champion"
		}
	}
	if inc != nil && answered(*inc) {
		return dg.Joined, fmt.Sprintf("incident %s has its run: %s", inc.ID, inc.AnswerID)
	}
	retry := inc != nil && inc.Answer != nil && inc.OwnAnswer && inc.Answer.State == ledger.RunFailed
	return room(s, now, o, retry)
}

// room is the answer to a trigger that has reason to start a run.
func room(s ledger.TriggerState, now time.Time, o Options, coolDown bool) (dg.TriggerDecision, string) {
	if s.Unfinished != "" {
		return dg.Busy, "run " + s.Unfinished + " is under way"
	}
	if next := s.LastEnd.Add(o.CoolDown); coolDown && !s.LastEnd.IsZero() && now.Before(next) {
		return dg.CoolDown, "the last run ended less than " + o.CoolDown.String() + " ago; from " + stamp(next) + " on"
	}
	if s.Recent >= o.BudgetPerDay {
		return dg.Budget, fmt.Sprintf("%d runs were started within 24 hours, the most is %d", s.Recent, o.BudgetPerDay)
	}
	return dg.Accepted, "a run starts"
}

func resolutionNote(s ledger.TriggerState, t dg.Trigger) string {
	if s.Incident != nil {
		for _, c := range s.Incident.Causes {
			if c.Key == t.DedupeKey {
				return "closes its part of incident " + s.Incident.ID
			}
		}
	}
	return "nothing was open for it"
}

// automatic reports whether triggers of this source open and join incidents.
func automatic(s dg.TriggerSource) bool { return s == dg.FromAlarm || s == dg.FromAlertmanager }

// openIncident returns the newest incident unless it is over.
func openIncident(s ledger.TriggerState, now time.Time, o Options) *ledger.Incident {
	if s.Incident == nil {
		return nil
	}
	var last time.Time
	for _, c := range s.Incident.Causes {
		end := causeEnd(c, s.LastPromotion, now, o)
		if end.IsZero() {
			return s.Incident
		}
		if end.After(last) {
			last = end
		}
	}
	if now.Before(last.Add(o.CoolDown)) {
		return s.Incident
	}
	return nil
}

// causeEnd is when a cause was over, zero while it lasts.
func causeEnd(c ledger.Cause, promotion, now time.Time, o Options) time.Time {
	if !c.ResolvedAt.IsZero() {
		return c.ResolvedAt
	}
	if c.Source == dg.FromAlarm && promotion.After(c.HeardAt) {
		return promotion
	}
	if silent := c.HeardAt.Add(o.Forget); !now.Before(silent) {
		return silent
	}
	return time.Time{}
}

// answered reports whether the incident has the one run it gets. A run that was
// under way when the incident opened counts only if it promoted.
func answered(inc ledger.Incident) bool {
	a := inc.Answer
	switch {
	case a == nil:
		return false
	case !inc.OwnAnswer:
		return a.State == ledger.RunDone && a.Verdict == dg.Promote.String()
	default:
		return a.State != ledger.RunFailed
	}
}

func stamp(t time.Time) string { return t.UTC().Format(dg.TimeFormat) }

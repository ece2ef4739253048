package trigger

import (
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

func options() Options {
	return Options{CoolDown: 6 * time.Hour, BudgetPerDay: 3, Models: map[string]bool{"garments": true}}.withDefaults()
}

func prior(d dg.TriggerDecision, incident string, at time.Time) *ledger.TriggerRecord {
	return &ledger.TriggerRecord{Decision: d, IncidentID: incident, DecidedAt: at}
}

// incident is open by one cause that still fires, unless changed.
func incident(change func(*ledger.Incident)) *ledger.Incident {
	inc := &ledger.Incident{ID: "i1", Model: "garments", OpenedAt: ago(time.Hour),
		Causes: []ledger.Cause{{Key: "k1", Source: dg.FromAlertmanager, HeardAt: ago(time.Hour)}}}
	if change != nil {
		change(inc)
	}
	return inc
}

func answeredBy(state, verdict string, own bool) func(*ledger.Incident) {
	return func(i *ledger.Incident) {
		i.AnswerID, i.OwnAnswer, i.Answer = "r1", own, &ledger.Run{ID: "r1", State: state, Verdict: verdict}
	}
}

func resolved(at time.Time, more func(*ledger.Incident)) func(*ledger.Incident) {
	return func(i *ledger.Incident) {
		i.Causes[0].ResolvedAt = at
		if more != nil {
			more(i)
		}
	}
}

type decideCase struct {
	name  string
	state ledger.TriggerState
	t     dg.Trigger
	want  dg.TriggerDecision
}

func alert() dg.Trigger {
	return dg.Trigger{Source: dg.FromAlertmanager, Model: "garments", DedupeKey: "k1"}
}
func alarm() dg.Trigger { return dg.Trigger{Source: dg.FromAlarm, Model: "garments", DedupeKey: "a1"} }
func schedule() dg.Trigger {
	return dg.Trigger{Source: dg.FromSchedule, Model: "garments", DedupeKey: "s1"}
}
func person() dg.Trigger {
	return dg.Trigger{Source: dg.FromPerson, Model: "garments", DedupeKey: "p1"}
}
func resolution() dg.Trigger {
	t := alert()
	t.Resolved = true
	return t
}

func runCases(t *testing.T, cases []decideCase) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			got, note := Decide(tt.state, tt.t, noon, options())
			if got != tt.want || note == "" {
				t.Errorf("decided %q (%s), want %q with a note", got, note, tt.want)
			}
		})
	}
}

func TestDecideAlertsAndAlarms(t *testing.T) {
	done, promote, reject := ledger.RunDone, dg.Promote.String(), dg.Reject.String()
	runCases(t, []decideCase{
		{"the first alert is accepted", ledger.TriggerState{}, alert(), dg.Accepted},
		{"the first alarm is accepted", ledger.TriggerState{}, alarm(), dg.Accepted},
		{"an alert about another model is ignored", ledger.TriggerState{}, dg.Trigger{Source: dg.FromAlertmanager, Model: "shoes", DedupeKey: "k"}, dg.Ignored},
		{"an accepted alert that comes again is a duplicate",
			ledger.TriggerState{Prior: prior(dg.Accepted, "i1", ago(time.Hour)), Incident: incident(answeredBy(ledger.RunRunning, "", true)), Unfinished: "r1"}, alert(), dg.Duplicate},
		{"another alert joins the incident whose run is under way",
			ledger.TriggerState{Incident: incident(answeredBy(ledger.RunRunning, "", true)), Unfinished: "r1"}, alarm(), dg.Joined},
		{"another alert joins while the first still fires, though its run has ended",
			ledger.TriggerState{Incident: incident(answeredBy(done, reject, true)), LastEnd: ago(time.Hour)}, alarm(), dg.Joined},
		{"another alert joins within the cool-down after the resolution",
			ledger.TriggerState{Incident: incident(resolved(ago(5*time.Hour), answeredBy(done, promote, true)))}, alarm(), dg.Joined},
		{"after resolution and cool-down an alert opens a new incident",
			ledger.TriggerState{Incident: incident(resolved(ago(6*time.Hour), answeredBy(done, promote, true)))}, alarm(), dg.Accepted},
		{"an alert meets a run that somebody else started",
			ledger.TriggerState{Unfinished: "r0"}, alert(), dg.Busy},
		{"the alert comes again while that run is still under way",
			ledger.TriggerState{Prior: prior(dg.Busy, "i1", ago(time.Hour)), Unfinished: "r1", Incident: incident(answeredBy(ledger.RunRunning, "", false))}, alert(), dg.Busy},
		{"that run ended without promoting, so the next delivery starts one",
			ledger.TriggerState{Prior: prior(dg.Busy, "i1", ago(time.Hour)), Incident: incident(answeredBy(done, reject, false)), LastEnd: ago(time.Minute)}, alert(), dg.Accepted},
		{"that run failed, so the next delivery starts one",
			ledger.TriggerState{Prior: prior(dg.Busy, "i1", ago(time.Hour)), Incident: incident(answeredBy(ledger.RunFailed, "", false)), LastEnd: ago(time.Minute)}, alert(), dg.Accepted},
		{"that run promoted, so it is the answer",
			ledger.TriggerState{Prior: prior(dg.Busy, "i1", ago(time.Hour)), Incident: incident(answeredBy(done, promote, false)), LastEnd: ago(time.Minute), LastPromotion: ago(time.Minute)}, alert(), dg.Joined},
		{"an alarm met busy and its champion was replaced: a repetition is about the past",
			ledger.TriggerState{Prior: prior(dg.Busy, "i0", ago(time.Hour)), LastPromotion: ago(time.Minute)}, alarm(), dg.Duplicate},
		{"the incident's own run failed a moment ago: not before the cool-down is over",
			ledger.TriggerState{Prior: prior(dg.Accepted, "i1", ago(time.Hour)), Incident: incident(answeredBy(ledger.RunFailed, "", true)), LastEnd: ago(time.Hour)}, alert(), dg.CoolDown},
		{"the incident's own run failed long ago: another is started",
			ledger.TriggerState{Prior: prior(dg.CoolDown, "i1", ago(time.Hour)), Incident: incident(answeredBy(ledger.RunFailed, "", true)), LastEnd: ago(7 * time.Hour)}, alert(), dg.Accepted},
		{"a person cancelled the incident's run: that is an answer",
			ledger.TriggerState{Incident: incident(answeredBy(ledger.RunCancelled, "", true)), LastEnd: ago(time.Hour)}, alarm(), dg.Joined},
		{"the budget stops alerts too",
			ledger.TriggerState{Recent: 3}, alert(), dg.Budget},
		{"an alert that met an empty budget is decided again",
			ledger.TriggerState{Prior: prior(dg.Budget, "i1", ago(time.Hour)), Recent: 2, Incident: incident(nil)}, alert(), dg.Accepted},
		{"a firing that arrives after its resolution starts nothing",
			ledger.TriggerState{ResolvedAt: ago(time.Minute)}, alert(), dg.Duplicate},
		{"an alarm's incident ends with the promotion and the cool-down, resolution or not",
			ledger.TriggerState{LastPromotion: ago(7 * time.Hour), Incident: incident(func(i *ledger.Incident) {
				i.Causes[0] = ledger.Cause{Key: "a0", Source: dg.FromAlarm, HeardAt: ago(9 * time.Hour)}
				answeredBy(done, promote, true)(i)
			})}, alarm(), dg.Accepted},
		{"an old alarm delivered once more after its incident is a duplicate",
			ledger.TriggerState{Prior: prior(dg.Accepted, "i1", ago(20*time.Hour)), LastPromotion: ago(10 * time.Hour), Incident: incident(func(i *ledger.Incident) {
				i.Causes[0] = ledger.Cause{Key: "a1", Source: dg.FromAlarm, HeardAt: ago(20 * time.Hour)}
				answeredBy(done, promote, true)(i)
			})}, alarm(), dg.Duplicate},
		{"an alert that was not heard of for a week no longer holds its incident open",
			ledger.TriggerState{Incident: incident(func(i *ledger.Incident) {
				i.Causes[0].HeardAt = ago(7*day + 6*time.Hour)
				answeredBy(done, reject, true)(i)
			})}, alarm(), dg.Accepted},
		{"an incident lasts until its last cause is resolved",
			ledger.TriggerState{Incident: incident(resolved(ago(30*time.Hour), func(i *ledger.Incident) {
				i.Causes = append(i.Causes, ledger.Cause{Key: "k2", Source: dg.FromAlertmanager, HeardAt: ago(2 * time.Hour)})
				answeredBy(done, reject, true)(i)
			}))}, alarm(), dg.Joined},
	})
}

func TestDecideResolutions(t *testing.T) {
	runCases(t, []decideCase{
		{"a resolution closes", ledger.TriggerState{Incident: incident(nil), Prior: nil}, resolution(), dg.Closed},
		{"a resolution closes while the run goes on", ledger.TriggerState{Incident: incident(answeredBy(ledger.RunRunning, "", true)), Unfinished: "r1"}, resolution(), dg.Closed},
		{"a resolution of nothing is recorded too", ledger.TriggerState{}, resolution(), dg.Closed},
		{"a resolution that comes again is a duplicate", ledger.TriggerState{Prior: prior(dg.Closed, "", ago(time.Hour))}, resolution(), dg.Duplicate},
	})
}

func TestDecideSchedulesAndPeople(t *testing.T) {
	runCases(t, []decideCase{
		{"a schedule starts a run", ledger.TriggerState{}, schedule(), dg.Accepted},
		{"a schedule obeys busy", ledger.TriggerState{Unfinished: "r0"}, schedule(), dg.Busy},
		{"a schedule obeys the cool-down", ledger.TriggerState{LastEnd: ago(5 * time.Hour)}, schedule(), dg.CoolDown},
		{"a schedule starts when the cool-down is over to the second", ledger.TriggerState{LastEnd: ago(6 * time.Hour)}, schedule(), dg.Accepted},
		{"a schedule obeys the budget", ledger.TriggerState{Recent: 3}, schedule(), dg.Budget},
		{"a schedule's time that comes again is a duplicate, whatever it got", ledger.TriggerState{Prior: prior(dg.Busy, "", ago(time.Hour))}, schedule(), dg.Duplicate},
		{"a schedule does not join an incident", ledger.TriggerState{Incident: incident(answeredBy(ledger.RunDone, "reject", true))}, schedule(), dg.Accepted},
		{"a person is not stopped by the cool-down", ledger.TriggerState{LastEnd: ago(time.Minute)}, person(), dg.Accepted},
		{"a person is not stopped by an incident", ledger.TriggerState{Incident: incident(answeredBy(ledger.RunDone, "reject", true)), LastEnd: ago(time.Minute)}, person(), dg.Accepted},
		{"a person is told busy", ledger.TriggerState{Unfinished: "r0"}, person(), dg.Busy},
		{"a person is told that the budget is used up", ledger.TriggerState{Recent: 3}, person(), dg.Budget},
		{"a person's doubled request starts one run", ledger.TriggerState{Prior: prior(dg.Accepted, "", ago(time.Second))}, person(), dg.Duplicate},
	})
}

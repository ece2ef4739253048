package driftgate

import "time"

// A TriggerSource says who asks for a retraining.
type TriggerSource string

// The trigger sources.
const (
	FromAlarm        TriggerSource = "alarm"        // driftgate's own drift alarm
	FromAlertmanager TriggerSource = "alertmanager" // the webhook
	FromSchedule     TriggerSource = "schedule"
	FromPerson       TriggerSource = "person" // command line, page or API
)

// TriggerSources lists every source.
var TriggerSources = []TriggerSource{FromAlarm, FromAlertmanager, FromSchedule, FromPerson}

// Trigger is one request to retrain a model. Triggers arrive at least once;
// DedupeKey makes two deliveries of one cause the same.
type Trigger struct {
	ID        string        `json:"id"`
	Source    TriggerSource `json:"source"`
	Model     string        `json:"model"`
	Reason    string        `json:"reason"`
	DedupeKey string        `json:"dedupe_key"`
	At        time.Time     `json:"at"`
	Since     time.Time     `json:"since,omitzero"`     // when the cause began, if known: the challenger is judged on what came after
	Resolved  bool          `json:"resolved,omitempty"` // the cause is gone: closes the incident, starts nothing
}

// A TriggerDecision is the recorded answer to a trigger.
type TriggerDecision string

// The decisions. Only Accepted starts a run; none is an error.
const (
	Accepted  TriggerDecision = "accepted"  // a run was started for it
	Duplicate TriggerDecision = "duplicate" // delivered before
	Joined    TriggerDecision = "joined"    // its incident already has its run
	Busy      TriggerDecision = "busy"      // another run of this model is under way
	CoolDown  TriggerDecision = "cooldown"  // too soon after the last run
	Budget    TriggerDecision = "budget"    // the day's runs are used up
	Closed    TriggerDecision = "resolved"  // a resolution: the incident ends
	Ignored   TriggerDecision = "ignored"   // not for this model, or not a retrain alert
)

// TriggerDecisions lists every decision.
var TriggerDecisions = []TriggerDecision{Accepted, Duplicate, Joined, Busy, CoolDown, Budget, Closed, Ignored}

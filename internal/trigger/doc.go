// Package trigger answers every request to retrain a model, and records the
// answer before it is given.
//
// Triggers arrive at least once; runs are exactly one. [Inbox.Submit] loads
// what is known, decides and writes in one transaction of the ledger, so that
// no two deliveries, however they race, can start two runs for one cause, and
// no model ever has two unfinished runs. [Decide] is the rule, pure:
//
//   - A resolution closes its cause, starts nothing and stops nothing.
//   - An incident of a model opens with the first firing alarm or alert, and
//     lasts until every cause that opened or joined it is over, plus the
//     cool-down. Alarms and alerts within it join it; one retrain is its answer.
//   - A cause is over when its resolution arrived; an alarm also with the next
//     promotion, since the alarm judges one champion only; and any cause that
//     was not heard of for Forget, since resolutions can get lost.
//   - An incident that met a run already under way is answered by that run if
//     the run ends with a promotion. If not, the next delivery may start one.
//   - A run that failed (not: was rejected) is no answer: once the cool-down is
//     over, the next delivery may start another. A cancelled run is an answer: a
//     person gave it.
//   - A schedule obeys busy, cool-down and budget.
//   - A person is refused only while a run is under way or the budget is used up.
//
// An alarm that met busy, cool-down or an empty budget is not delivered again by
// itself; [Inbox.Reconsider] does that for every incident without an answer.
//
// The package never starts a run and never cancels one: it writes rows in state
// "requested", which [Inbox.Requested] lists.
package trigger

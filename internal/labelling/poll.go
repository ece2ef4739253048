package labelling

import (
	"cmp"
	"slices"

	dg "driftgate"
	"driftgate/internal/ledger"
)

const (
	maxAnnotators = 9
	extraPeople   = 2 // how many more than Annotators are asked while there is a tie
)

// quorum is how many people are asked about a sample.
func (o Options) quorum() ledger.Quorum {
	return ledger.Quorum{People: o.Annotators, Most: o.Annotators + extraPeople}
}

// outcome is what the answers about one sample come to.
type outcome struct {
	ledger.Answer
	disputed bool // people did not agree
	tied     bool // no class had most of the answers: it is the one named first of those that had as many
}

// count takes the majority of at least one answer. Where several classes have
// as many, the one named first wins. The label's time is that of the newest
// answer, for until then there was none.
func count(answers []ledger.Answer, predicted string) outcome {
	answers = slices.SortedFunc(slices.Values(answers), func(a, b ledger.Answer) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Annotator, b.Annotator))
	})
	votes := map[string]int{}
	for _, a := range answers {
		votes[a.Label]++
	}
	out := outcome{Answer: answers[0]}
	for _, a := range answers { // from the oldest on
		if votes[a.Label] > votes[out.Label] {
			out.Answer = a
		}
	}
	for label, n := range votes {
		out.tied = out.tied || (label != out.Label && n == votes[out.Label])
	}
	out.disputed = len(votes) > 1
	out.At = answers[len(answers)-1].At
	if len(answers) > 1 {
		out.Votes = dg.Votes{Agree: votes[predicted], Of: len(answers)}
	}
	return out
}

// wanted is how many more people have to answer, as far as is known now: as
// [ledger.Ledger.Asking] has it.
func wanted(answers []ledger.Answer, q ledger.Quorum) int {
	n := len(answers)
	switch {
	case n < q.People:
		return q.People - n
	case n < q.Most && count(answers, "").tied:
		return 1
	}
	return 0
}

// answerOf returns the answer of one person.
func answerOf(answers []ledger.Answer, annotator string) (ledger.Answer, bool) {
	i := slices.IndexFunc(answers, func(a ledger.Answer) bool { return a.Annotator == annotator })
	if i < 0 {
		return ledger.Answer{}, false
	}
	return answers[i], true
}

// withAnswer is answers with a's in place of an earlier one of the same person.
func withAnswer(answers []ledger.Answer, a ledger.Answer) []ledger.Answer {
	answers = slices.DeleteFunc(slices.Clone(answers), func(old ledger.Answer) bool { return old.Annotator == a.Annotator })
	return append(answers, a)
}

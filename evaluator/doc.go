// Package evaluator judges a challenger against the champion on labels that
// neither has seen and on every suite that the gate names, and says promote,
// reject, inconclusive or error, with reasons. It never promotes anything itself.
//
// The clean bucket holds the champion's own errors on purpose: low-confident,
// flagged and corrected images are all labelled, and few of the others. A plain
// test over it promotes challengers that are worse. So the figure that decides
// is the paired difference with each pair weighted by what it stands for; the
// exact McNemar test is shown for the random stratum, where it is fair, and for
// all labels under the name biased.
//
// Missing data is neither pass nor fail: too few pairs and unknown shares are
// inconclusive. What failed technically is neither of the three: a suite that
// cannot be read, or a figure that is not a number, is an error.
//
// A [Report] shows one version on every suite, a [Study] several versions on the
// samples that none of them was trained on. What a version answered is kept in
// the ledger, a cache by version, suite and sample: comparing versions again
// reads no image. A suite that may change is kept under the digest of what it
// holds.
//
// One thing no weighting repairs: when the interval judged is the one whose bad
// luck raised the alarm, the champion looks a little worse there than it is.
// The alarm's false-alarm rate bounds how often that can matter.
package evaluator

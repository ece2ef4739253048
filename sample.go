package driftgate

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Stratum says why a sample was picked for labelling, or would have been:
// the first reason that matches wins, in the order of [Strata].
type Stratum string

// The strata, by their tag values.
const (
	LowConfidence Stratum = "low_confidence" // confidence below the curate threshold
	Flagged       Stratum = "flagged"        // a user pressed the flag button
	Corrected     Stratum = "corrected"      // a user chose another class
	Random        Stratum = "random"         // everything else; only some are picked
)

// Strata lists every stratum in the order in which curate tries them.
var Strata = []Stratum{LowConfidence, Flagged, Corrected, Random}

// A LabelSource says who gave a sample its label.
type LabelSource string

// The label sources, by their tag values.
const (
	HumanLabel LabelSource = "human" // a person, on driftgate's page or in Label Studio
	ProxyLabel LabelSource = "proxy" // the model's own answer
)

// Sample is one image with its prediction: what the tags of an object say.
// The image's class directory is part of Key, and names the predicted class in
// the production buckets but the human class in the clean bucket.
type Sample struct {
	Key            string
	PredictedClass string
	Confidence     float64 // softmax probability, 0 to 1, three decimals; NaN when the tag is missing
	Timestamp      time.Time
	Flagged        bool
	CorrectedClass string // what the user says it is; empty if nobody said

	ModelVersion     string
	Stratum          Stratum // empty until curated
	SamplingFraction float64 // chance of being picked within its stratum and interval, 0 to 1; 0 when not curated
	LabelSource      LabelSource
	Votes            Votes // zero when one person answered
	LabelledAt       time.Time
}

// Votes are the answers of several people about one sample: the weight of a
// label on which they disagree.
type Votes struct {
	Agree int // people who named the model's class
	Of    int // people who answered, 2 to 99; 0: one, whose answer is the label
}

// ID returns the sample's identity across buckets: the file name of its key.
func (s Sample) ID() string { return path.Base(s.Key) }

// The tag keys, as fixed by docs/interop.md. The first five are those of the
// systems that driftgate takes over from; the others are its own.
const (
	TagPredictedClass   = "predicted_class"
	TagConfidence       = "confidence"
	TagTimestamp        = "timestamp"
	TagFlagged          = "flagged"
	TagCorrectedClass   = "corrected_class"
	TagModelVersion     = "model_version"
	TagStratum          = "stratum"
	TagSamplingFraction = "sampling_fraction"
	TagLabelSource      = "label_source"
	TagLabelledAt       = "labelled_at"
)

// TimeFormat is the form of times in tags: UTC, whole seconds.
const TimeFormat = "2006-01-02T15:04:05Z"

// Limits of S3 object tags.
const (
	maxTagKey   = 128
	maxTagValue = 256
)

// Tags encodes the sample as object tags. Fields that are not set have no tag.
func (s Sample) Tags() map[string]string {
	tags := map[string]string{TagPredictedClass: s.PredictedClass}
	set := func(key, value string, present bool) {
		if present {
			tags[key] = value
		}
	}
	set(TagConfidence, FormatConfidence(s.Confidence), !math.IsNaN(s.Confidence))
	set(TagTimestamp, s.Timestamp.UTC().Format(TimeFormat), !s.Timestamp.IsZero())
	set(TagFlagged, "true", s.Flagged)
	set(TagCorrectedClass, s.CorrectedClass, s.CorrectedClass != "")
	set(TagModelVersion, s.ModelVersion, s.ModelVersion != "")
	set(TagStratum, string(s.Stratum), s.Stratum != "")
	set(TagSamplingFraction, strconv.FormatFloat(s.SamplingFraction, 'g', -1, 64), s.SamplingFraction > 0)
	set(TagLabelSource, formatSource(s.LabelSource, s.Votes), s.LabelSource != "")
	set(TagLabelledAt, s.LabelledAt.UTC().Format(TimeFormat), !s.LabelledAt.IsZero())
	return tags
}

// ParseSample decodes an object's tags. Unknown tags are ignored.
//
// An object without a timestamp tag is not yet complete (foreign writers put
// first and tag second): the error is then [ErrIncomplete]. Every malformed tag
// is named in the error, which is [ErrInvalid].
func ParseSample(key string, tags map[string]string) (Sample, error) {
	s := Sample{Key: key, Confidence: math.NaN()}
	if _, _, err := ParseKey(key); err != nil {
		return s, err
	}
	stamp, ok := tags[TagTimestamp]
	if !ok {
		return s, fmt.Errorf("sample %s: no %s tag yet: %w", key, TagTimestamp, ErrIncomplete)
	}
	var errs []error
	bad := func(tag, value, want string) {
		errs = append(errs, fmt.Errorf("tag %s=%q: want %s", tag, value, want))
	}
	if s.Timestamp = parseTime(TagTimestamp, stamp, bad); len(errs) == 0 && (s.Timestamp.IsZero() || s.Timestamp.Unix() == 0) {
		bad(TagTimestamp, stamp, "a time, not the zero of a clock that was never set")
	}
	s.PredictedClass = tags[TagPredictedClass]
	if v, ok := tags[TagConfidence]; ok {
		s.Confidence = parseRatio(TagConfidence, v, bad)
	}
	s.Flagged = tags[TagFlagged] == "true"
	s.CorrectedClass = tags[TagCorrectedClass]
	s.ModelVersion = tags[TagModelVersion]
	if v, ok := tags[TagStratum]; ok {
		if s.Stratum = Stratum(v); !slices.Contains(Strata, s.Stratum) {
			bad(TagStratum, v, fmt.Sprintf("one of %v", Strata))
		}
	}
	if v, ok := tags[TagSamplingFraction]; ok {
		s.SamplingFraction = parseRatio(TagSamplingFraction, v, bad)
	}
	s.LabelSource, s.Votes = parseSource(tags[TagLabelSource], bad)
	if v, ok := tags[TagLabelledAt]; ok {
		s.LabelledAt = parseTime(TagLabelledAt, v, bad)
	}
	if len(errs) > 0 {
		return s, fmt.Errorf("sample %s: %w: %w", key, ErrInvalid, errors.Join(errs...))
	}
	return s, nil
}

// formatSource writes who gave a label, and how many of several agreed with the
// model: "human", "human:1/3".
func formatSource(source LabelSource, v Votes) string {
	if v.Of == 0 {
		return string(source)
	}
	return fmt.Sprintf("%s:%d/%d", source, v.Agree, v.Of)
}

func parseSource(value string, bad func(tag, value, want string)) (LabelSource, Votes) {
	source, votes, several := strings.Cut(value, ":")
	if !several {
		return LabelSource(value), Votes{}
	}
	agree, of, _ := strings.Cut(votes, "/")
	a, errA := strconv.Atoi(agree)
	n, errN := strconv.Atoi(of)
	if source == "" || errA != nil || errN != nil || n < 2 || n > 99 || a < 0 || a > n {
		bad(TagLabelSource, value, "human, proxy, or human:AGREE/OF with AGREE of 2 to 99 people naming the model's class")
		return LabelSource(source), Votes{}
	}
	return LabelSource(source), Votes{Agree: a, Of: n}
}

func parseTime(tag, value string, bad func(tag, value, want string)) time.Time {
	t, err := time.Parse(TimeFormat, value)
	if err != nil {
		bad(tag, value, "UTC as "+TimeFormat)
	}
	return t
}

func parseRatio(tag, value string, bad func(tag, value, want string)) float64 {
	x, err := strconv.ParseFloat(value, 64)
	if err != nil || !(x >= 0 && x <= 1) { // also refuses NaN
		bad(tag, value, "a number from 0 to 1")
	}
	return x
}

// FormatConfidence renders a softmax probability as its tag, with three
// decimals. All threshold arithmetic uses this rounded value: see
// [RoundConfidence].
func FormatConfidence(p float64) string { return strconv.FormatFloat(p, 'f', 3, 64) }

// RoundConfidence returns what remains of p after a trip through its tag:
// 0.69951 becomes 0.7, and is then not below a threshold of 0.7.
func RoundConfidence(p float64) float64 {
	r, err := strconv.ParseFloat(FormatConfidence(p), 64)
	if err != nil {
		return math.NaN()
	}
	return r
}

// ValidTag reports whether key=value can be an S3 object tag: at most 128 and
// 256 characters, and only letters, digits and signs that every S3 server and
// client takes. S3 itself allows letters beyond ASCII; MinIO's client does not.
func ValidTag(key, value string) error {
	if key == "" || utf8.RuneCountInString(key) > maxTagKey {
		return fmt.Errorf("tag key %q: want 1 to %d characters: %w", key, maxTagKey, ErrInvalid)
	}
	if utf8.RuneCountInString(value) > maxTagValue {
		return fmt.Errorf("tag %s: %d characters, want at most %d: %w", key, utf8.RuneCountInString(value), maxTagValue, ErrInvalid)
	}
	if !tagText.MatchString(key) || !tagText.MatchString(value) {
		return fmt.Errorf("tag %s=%q: want letters, digits, spaces and + - = . _ : / @ only: %w", key, value, ErrInvalid)
	}
	return nil
}

var tagText = regexp.MustCompile(`^[A-Za-z0-9 _.:/=+\-@]*$`)

var keyForm = regexp.MustCompile(`^class_([0-9]{2,3})/([^/]+)$`)

// SampleKey joins the position of a class in the class list and a file name to
// an object key, class_%02d/name.
func SampleKey(class int, name string) string { return fmt.Sprintf("class_%02d/%s", class, name) }

// ParseKey splits an object key into its class position and file name; the
// error is [ErrInvalid].
func ParseKey(key string) (class int, name string, err error) {
	m := keyForm.FindStringSubmatch(key)
	if m == nil || m[2] == "." || m[2] == ".." || strings.ContainsRune(key, 0) {
		return 0, "", fmt.Errorf("key %q: want class_NN/name: %w", key, ErrInvalid)
	}
	class, err = strconv.Atoi(m[1])
	return class, m[2], err
}

// Classes is a model's class list, in the order of its outputs.
type Classes []string

// Index returns the position of label, or -1.
func (c Classes) Index(label string) int { return slices.Index(c, label) }

// Label returns the class at position i; the error is [ErrInvalid].
func (c Classes) Label(i int) (string, error) {
	if i < 0 || i >= len(c) {
		return "", fmt.Errorf("class %d: want 0 to %d: %w", i, len(c)-1, ErrInvalid)
	}
	return c[i], nil
}

// Validate demands 2 to 1000 distinct labels that can be tag values.
func (c Classes) Validate() error {
	if len(c) < 2 || len(c) > 1000 {
		return fmt.Errorf("classes: %d labels, want 2 to 1000: %w", len(c), ErrInvalid)
	}
	seen := map[string]bool{}
	var errs []error
	for i, label := range c {
		if label == "" || seen[label] {
			errs = append(errs, fmt.Errorf("class %d %q: want a label that is not empty and not taken: %w", i, label, ErrInvalid))
		}
		if err := ValidTag(TagPredictedClass, label); err != nil {
			errs = append(errs, fmt.Errorf("class %d: %w", i, err))
		}
		seen[label] = true
	}
	return errors.Join(errs...)
}

// FashionMNIST is the class list of Fashion-MNIST and of the synthetic garment set.
var FashionMNIST = Classes{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"}

// Food11 is the class list of Food-11.
var Food11 = Classes{"Bread", "Dairy product", "Dessert", "Egg", "Fried food", "Meat", "Noodles/Pasta", "Rice", "Seafood", "Soup", "Vegetable/Fruit"}

package driftgate

import (
	"errors"
	"maps"
	"math"
	"testing"
	"time"
)

func TestTagsSurviveARoundTrip(t *testing.T) {
	at := time.Date(2026, 11, 22, 4, 3, 34, 0, time.UTC)
	for name, s := range map[string]Sample{
		"as the old service wrote it": {Key: "class_06/a.jpg", PredictedClass: "Noodles/Pasta", Confidence: 0.7, Timestamp: at},
		"without confidence":          {Key: "class_00/b", PredictedClass: "Bread", Confidence: math.NaN(), Timestamp: at},
		"with everything": {Key: "class_10/c.PNG", PredictedClass: "Vegetable/Fruit", Confidence: 1, Timestamp: at,
			Flagged: true, CorrectedClass: "Fried food", ModelVersion: "0123456789ab", Stratum: Corrected,
			SamplingFraction: 1.0 / 3, LabelSource: HumanLabel, LabelledAt: at.Add(time.Hour)},
		"labelled by people who disagree":  {Key: "class_01/d.jpg", PredictedClass: "Dress", Confidence: .5, Timestamp: at, LabelSource: HumanLabel, Votes: Votes{Agree: 1, Of: 3}},
		"labelled by people against it":    {Key: "class_01/e.jpg", PredictedClass: "Dress", Confidence: .5, Timestamp: at, LabelSource: HumanLabel, Votes: Votes{Of: 2}},
		"labelled by as many as there fit": {Key: "class_01/f.jpg", PredictedClass: "Dress", Confidence: .5, Timestamp: at, LabelSource: HumanLabel, Votes: Votes{Agree: 99, Of: 99}},
	} {
		t.Run(name, func(t *testing.T) {
			tags := s.Tags()
			if len(tags) > 10 {
				t.Errorf("%d tags: S3 allows ten", len(tags))
			}
			got, err := ParseSample(s.Key, tags)
			if err != nil {
				t.Fatal(err)
			}
			if math.IsNaN(s.Confidence) && math.IsNaN(got.Confidence) {
				s.Confidence, got.Confidence = 0, 0
			}
			if got != s {
				t.Errorf("round trip:\n got %+v\nwant %+v", got, s)
			}
		})
	}
}

func TestMalformedTagsAreNamed(t *testing.T) {
	ok := map[string]string{TagPredictedClass: "Bag", TagConfidence: "0.500", TagTimestamp: "2026-01-02T03:04:05Z"}
	for name, tt := range map[string]struct {
		key, tag, value string
		want            error
	}{
		"no timestamp yet":               {"class_01/x", TagTimestamp, "", ErrIncomplete},
		"timestamp with an offset":       {"class_01/x", TagTimestamp, "2026-01-02T03:04:05+01:00", ErrInvalid},
		"timestamp that Go calls zero":   {"class_01/x", TagTimestamp, "0001-01-01T00:00:00Z", ErrInvalid},
		"timestamp that Unix calls zero": {"class_01/x", TagTimestamp, "1970-01-01T00:00:00Z", ErrInvalid},
		"confidence in percent":          {"class_01/x", TagConfidence, "50%", ErrInvalid},
		"confidence above one":           {"class_01/x", TagConfidence, "1.001", ErrInvalid},
		"confidence NaN":                 {"class_01/x", TagConfidence, "NaN", ErrInvalid},
		"unknown stratum":                {"class_01/x", TagStratum, "lucky", ErrInvalid},
		"negative fraction":              {"class_01/x", TagSamplingFraction, "-1", ErrInvalid},
		"label time in words":            {"class_01/x", TagLabelledAt, "yesterday", ErrInvalid},
		"votes without a count":          {"class_01/x", TagLabelSource, "human:", ErrInvalid},
		"votes in words":                 {"class_01/x", TagLabelSource, "human:two/three", ErrInvalid},
		"votes of no source":             {"class_01/x", TagLabelSource, ":1/3", ErrInvalid},
		"votes of one":                   {"class_01/x", TagLabelSource, "human:1/1", ErrInvalid},
		"votes of nobody":                {"class_01/x", TagLabelSource, "human:0/0", ErrInvalid},
		"more agree than voted":          {"class_01/x", TagLabelSource, "human:4/3", ErrInvalid},
		"fewer than nobody agree":        {"class_01/x", TagLabelSource, "human:-1/3", ErrInvalid},
		"votes of a hundred":             {"class_01/x", TagLabelSource, "human:50/100", ErrInvalid},
		"key without a class directory":  {"x", TagFlagged, "true", ErrInvalid},
		"key with a deeper path":         {"class_01/a/b", TagFlagged, "true", ErrInvalid},
		"key that climbs":                {"class_01/..", TagFlagged, "true", ErrInvalid},
		"class directory not two digits": {"class_1/x", TagFlagged, "true", ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			tags := maps.Clone(ok)
			if tags[tt.tag] = tt.value; tt.value == "" {
				delete(tags, tt.tag)
			}
			if _, err := ParseSample(tt.key, tags); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestConfidenceIsComparedAsItsTagSays(t *testing.T) {
	if got := RoundConfidence(0.69951); got != 0.7 {
		t.Errorf("0.69951 rounds to %v, want 0.7: it must not count as low", got)
	}
	if got := RoundConfidence(0.69949); got != 0.699 {
		t.Errorf("0.69949 rounds to %v", got)
	}
}

func TestClassListsAreValid(t *testing.T) {
	for _, c := range []Classes{FashionMNIST, Food11} {
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
	if err := (Classes{"a", "a", "semi;colon"}).Validate(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a doubled label and a character S3 refuses: %v", err)
	}
}

func TestVotesAreOneTag(t *testing.T) {
	s := Sample{Key: "class_01/x", PredictedClass: "Bag", Timestamp: time.Unix(0, 0), LabelSource: HumanLabel, Votes: Votes{Agree: 2, Of: 3}}
	if got := s.Tags()[TagLabelSource]; got != "human:2/3" {
		t.Errorf("tag %q", got)
	}
	if err := ValidTag(TagLabelSource, "human:2/3"); err != nil {
		t.Error(err)
	}
	s.Votes = Votes{}
	if got := s.Tags()[TagLabelSource]; got != "human" {
		t.Errorf("one person: tag %q, want it as before there were votes", got)
	}
}

func FuzzParseSample(f *testing.F) {
	f.Add("class_03/a.jpg", "Dress", "0.812", "2026-11-22T04:03:34Z", "random", "0.25", "human:1/3")
	f.Add("class_100/a", "", "1", "", "", "", "human")
	f.Fuzz(func(t *testing.T, key, class, confidence, stamp, stratum, fraction, source string) {
		tags := map[string]string{TagPredictedClass: class, TagConfidence: confidence, TagTimestamp: stamp, TagStratum: stratum, TagSamplingFraction: fraction, TagLabelSource: source}
		s, err := ParseSample(key, tags)
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrIncomplete) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		again, err := ParseSample(key, s.Tags())
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if math.Abs(again.Confidence-s.Confidence) > 0.0005 || !again.Timestamp.Equal(s.Timestamp) || again.SamplingFraction != s.SamplingFraction || again.Votes != s.Votes || again.LabelSource != s.LabelSource {
			t.Fatalf("changed on a round trip: %+v, then %+v", s, again)
		}
		twice, err := ParseSample(key, again.Tags())
		if err != nil || twice != again {
			t.Fatalf("not stable after one round trip: %+v, then %+v (%v)", again, twice, err)
		}
	})
}

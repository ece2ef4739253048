package dataset

import (
	"errors"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

// good is a set that nothing is wrong with.
func good() Set { return Synthetic(SyntheticOptions{Seed: 4, Train: 200, Test: 100}) }

func TestValidateAcceptsAGoodSet(t *testing.T) {
	r := Validate(good(), Rules{})
	if r.Err() != nil || len(r.Warnings) != 0 || r.Train != 200 || r.Test != 100 || len(r.Classes) != 10 {
		t.Fatalf("%+v", r)
	}
	for _, c := range r.Classes {
		if c.Train != 20 || c.Test != 10 {
			t.Errorf("%s: %d + %d, want 20 + 10", c.Label, c.Train, c.Test)
		}
	}
}

func TestValidateFindsProblemsAndNamesThem(t *testing.T) {
	copyTo := func(s *Set, to, from int) { copy(s.Image(s.Train, to), s.Image(s.Train, from)) }
	for _, tt := range []struct {
		name  string
		edit  func(*Set)
		rules Rules
		want  []string
	}{
		{"labels out of range", func(s *Set) { s.Train.Labels[3], s.Test.Labels[5] = 10, 65535 }, Rules{},
			[]string{`image "train/00003": label 10: want below 10`, `image "test/00005": label 65535`}},
		{"an image of one colour", func(s *Set) { clear(s.Image(s.Train, 17)) }, Rules{}, []string{`image "train/00017": all pixels are the same`}},
		{"the same id twice", func(s *Set) { s.Test.IDs[0] = "train/00000" }, Rules{}, []string{`image "train/00000": the id occurs twice`}},
		{"an id with a newline", func(s *Set) { s.Train.IDs[2] = "a\nb" }, Rules{}, []string{`image "a\nb"`, "control characters"}},
		{"an id too few", func(s *Set) { s.Train.IDs = s.Train.IDs[1:] }, Rules{}, []string{"train: 200 labels, 199 ids"}},
		{"a pixel too many", func(s *Set) { s.Test.Pixels = append(s.Test.Pixels, 0) }, Rules{}, []string{"test: 100 labels, 100 ids and 78401 bytes"}},
		{"two channels", func(s *Set) { s.Channels = 2 }, Rules{}, []string{"28 x 28 x 2"}},
		{"a class list with a double", func(s *Set) { s.Classes[1] = s.Classes[0] }, Rules{}, []string{"class 1"}},
		{"a class without images", func(s *Set) { s.Classes = append(s.Classes, "Hat") }, Rules{}, []string{`class "Hat": 0 training images, want at least 1`}},
		{"no training images", func(s *Set) { s.Train = Split{} }, Rules{}, []string{"0 training images"}},
		{"fewer images than asked for", func(*Set) {}, Rules{MinTrain: 500, MinPerClass: 30}, []string{"200 training images: want at least 500", `class "Coat": 20 training images, want at least 30`}},
		{"too many copies", func(s *Set) {
			for i := range 21 {
				copyTo(s, 100+i, i)
			}
		}, Rules{}, []string{"21 of 200 training images are exact copies", `"train/00100" is an exact copy of "train/00000"`}},
		{"test images that are training images", func(s *Set) { copy(s.Test.Pixels, s.Train.Pixels[:2*Side*Side]) }, Rules{},
			[]string{"2 of 100 test images are training images too", `"test/00000" is an exact copy of "train/00000"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good()
			tt.edit(&s)
			err := Validate(s, tt.rules).Err()
			if !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
}

func TestSaveRefusesWhatCouldNotComeBack(t *testing.T) {
	for name, edit := range map[string]func(*Set){
		"a label out of range": func(s *Set) { s.Train.Labels[3] = 10 },
		"an id with a newline": func(s *Set) { s.Train.IDs[2] = "a\nb" },
		"an id too few":        func(s *Set) { s.Train.IDs = s.Train.IDs[1:] },
		"no training images":   func(s *Set) { s.Train = Split{} },
	} {
		s, st := good(), memoryStore{}
		edit(&s)
		if _, err := Save(t.Context(), st, s); !errors.Is(err, dg.ErrInvalid) || len(st) > 0 {
			t.Errorf("%s: %v, and %d files written; want ErrInvalid and none", name, err, len(st))
		}
	}
}

func TestValidateWarns(t *testing.T) {
	s := good()
	copy(s.Image(s.Train, 11), s.Image(s.Train, 4))
	s.Train.Labels[11] = (s.Train.Labels[4] + 1) % 10
	copy(s.Image(s.Test, 8), s.Image(s.Train, 9))
	for i := range s.Train.Labels {
		if s.Train.Labels[i] == 7 && i > 30 {
			s.Train.Labels[i] = 0
		}
	}
	for i := range s.Test.Labels {
		if s.Test.Labels[i] == 7 {
			s.Test.Labels[i] = 0
		}
	}
	r := Validate(s, Rules{MaxImbalance: 4})
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	if r.Doubles != 1 || r.Leaked != 1 || r.Conflict < 1 {
		t.Errorf("%d doubles, %d leaked, %d conflicts", r.Doubles, r.Leaked, r.Conflict)
	}
	for _, want := range []string{
		"1 of 200 training images are exact copies", "1 of 100 test images", `"train/00011" is an exact copy of "train/00004" with another label`,
		`class "Sneaker": no test images`, `unbalanced: class "T-shirt/top" has`,
	} {
		if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning %q in %q", want, r.Warnings)
		}
	}
}

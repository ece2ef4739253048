package dataset

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode"

	dg "driftgate"
)

// Rules is what [Validate] holds a set to. A zero field means the default
// named beside it.
type Rules struct {
	MinTrain     int     // training images; 1
	MinPerClass  int     // training images a class; 1, and -1 lets classes without images pass
	MaxImbalance float64 // largest class over smallest, in training images, above which a warning is given; 20
	MaxLeak      float64 // share of test images that are training images too; 0.01
	MaxDoubles   float64 // share of training images that are copies of others; 0.1
}

func (r Rules) orDefault() Rules {
	if r.MinTrain == 0 {
		r.MinTrain = 1
	}
	if r.MinPerClass == 0 {
		r.MinPerClass = 1
	}
	if r.MaxImbalance == 0 {
		r.MaxImbalance = 20
	}
	if r.MaxLeak == 0 {
		r.MaxLeak = 0.01
	}
	if r.MaxDoubles == 0 {
		r.MaxDoubles = 0.1
	}
	return r
}

// Report is what was found out about a set. Problems stop it from being
// loaded, warnings do not.
type Report struct {
	Name     string       `json:"name"`
	Train    int          `json:"train"` // images
	Test     int          `json:"test"`
	Classes  []ClassCount `json:"classes"`
	Doubles  int          `json:"doubles"`         // training images that are exact copies of earlier ones
	Leaked   int          `json:"leaked"`          // test images that are training images too
	Conflict int          `json:"label_conflicts"` // exact copies with another label
	Problems []string     `json:"problems"`
	Warnings []string     `json:"warnings"`
	LeftOut  []string     `json:"left_out"` // files and folders that were not read, and why
}

// ClassCount is the number of images of one class.
type ClassCount struct {
	Label string `json:"label"`
	Train int    `json:"train"`
	Test  int    `json:"test"`
}

// Err is nil when there are no problems; otherwise it names them all and is
// [dg.ErrInvalid].
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return fmt.Errorf("dataset: validate %q: %w:\n  %s", r.Name, dg.ErrInvalid, strings.Join(r.Problems, "\n  "))
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Validate looks at everything that can be wrong with a set in memory: shape,
// class list, counts and balance, labels, ids, images of one single colour, and
// exact copies within the training split and across the two. Records are named
// by their ids.
func Validate(s Set, rules Rules) Report {
	rules = rules.orDefault()
	r := Report{Name: s.Name, Train: s.Train.Len(), Test: s.Test.Len()}
	if !r.checkShape(s) {
		return r // images and labels cannot be told apart
	}
	r.checkRecords(s)
	r.checkCounts(s, rules)
	r.checkCopies(s, rules)
	return r
}

func (r *Report) checkShape(s Set) bool {
	if err := s.Classes.Validate(); err != nil {
		r.problem("%v", err)
	}
	if s.Height < 1 || s.Width < 1 || s.Height > maxModelSide || s.Width > maxModelSide || s.Channels != 1 && s.Channels != 3 {
		r.problem("shape %d x %d x %d: want 1 to %d pixels a side, and 1 or 3 channels", s.Height, s.Width, s.Channels, maxModelSide)
		return false
	}
	for name, sp := range map[string]Split{"train": s.Train, "test": s.Test} {
		if len(sp.IDs) != sp.Len() || len(sp.Pixels) != sp.Len()*s.ImageBytes() {
			r.problem("%s: %d labels, %d ids and %d bytes of pixels: want as many ids as labels, and %d bytes a label",
				name, sp.Len(), len(sp.IDs), len(sp.Pixels), s.ImageBytes())
		}
	}
	slices.Sort(r.Problems)
	return len(r.Problems) == 0
}

// checkRecords looks at each record by itself.
func (r *Report) checkRecords(s Set) {
	var faults []error
	seen := make(map[string]bool, s.Train.Len()+s.Test.Len())
	for _, sp := range []Split{s.Train, s.Test} {
		for i, id := range sp.IDs {
			bad := func(format string, args ...any) {
				faults = append(faults, fmt.Errorf("image %q: %s", id, fmt.Sprintf(format, args...)))
			}
			if id == "" || len(id) > 1024 || strings.ContainsFunc(id, unicode.IsControl) {
				bad("record %d: want an id of 1 to 1024 bytes without control characters", i)
			}
			if seen[id] {
				bad("the id occurs twice")
			}
			seen[id] = true
			if int(sp.Labels[i]) >= len(s.Classes) {
				bad("label %d: want below %d", sp.Labels[i], len(s.Classes))
			}
			if px := s.Image(sp, i); uniform(px, s.Channels) {
				bad("all pixels are the same")
			}
		}
	}
	if err := joinFaults(faults, "images"); err != nil {
		r.Problems = append(r.Problems, strings.Split(err.Error(), "\n")...)
	}
}

// uniform reports whether all pixels of an image are the same.
func uniform(px []byte, channels int) bool {
	for i := channels; i < len(px); i++ {
		if px[i] != px[i-channels] {
			return false
		}
	}
	return true
}

func (r *Report) checkCounts(s Set, rules Rules) {
	r.Classes = make([]ClassCount, len(s.Classes))
	for i, label := range s.Classes {
		r.Classes[i].Label = label
	}
	for _, l := range s.Train.Labels {
		if int(l) < len(r.Classes) {
			r.Classes[l].Train++
		}
	}
	for _, l := range s.Test.Labels {
		if int(l) < len(r.Classes) {
			r.Classes[l].Test++
		}
	}
	if r.Train < rules.MinTrain {
		r.problem("%d training images: want at least %d", r.Train, rules.MinTrain)
	}
	small, large := r.Classes[0], r.Classes[0]
	for _, c := range r.Classes {
		if c.Train < rules.MinPerClass {
			r.problem("class %q: %d training images, want at least %d", c.Label, c.Train, rules.MinPerClass)
		}
		if c.Test == 0 {
			r.warn("class %q: no test images", c.Label)
		}
		if c.Train < small.Train {
			small = c
		}
		if c.Train > large.Train {
			large = c
		}
	}
	if float64(large.Train) > rules.MaxImbalance*float64(small.Train) {
		r.warn("unbalanced: class %q has %d training images, class %q has %d", large.Label, large.Train, small.Label, small.Train)
	}
}

// checkCopies compares images by the hash of their pixels.
func (r *Report) checkCopies(s Set, rules Rules) {
	type first struct {
		id    string
		label uint16
	}
	seen := make(map[[sha256.Size]byte]first, s.Train.Len())
	var examples []string
	note := func(id string, label uint16, of first) {
		text := fmt.Sprintf("%q is an exact copy of %q", id, of.id)
		if label != of.label {
			r.Conflict++
			text += " with another label"
		}
		if len(examples) < maxNamed {
			examples = append(examples, text)
		}
	}
	for i, id := range s.Train.IDs {
		sum := sha256.Sum256(s.Image(s.Train, i))
		if of, ok := seen[sum]; ok {
			r.Doubles++
			note(id, s.Train.Labels[i], of)
			continue
		}
		seen[sum] = first{id, s.Train.Labels[i]}
	}
	for i, id := range s.Test.IDs {
		if of, ok := seen[sha256.Sum256(s.Image(s.Test, i))]; ok {
			r.Leaked++
			note(id, s.Test.Labels[i], of)
		}
	}
	report := func(count, of int, most float64, what string) {
		if count == 0 {
			return
		}
		text := fmt.Sprintf("%d of %d %s", count, of, what)
		if float64(count) > most*float64(of) {
			r.problem("%s: want at most %.0f%%; %s", text, 100*most, strings.Join(examples, "; "))
		} else {
			r.warn("%s", text)
		}
	}
	report(r.Doubles, r.Train, rules.MaxDoubles, "training images are exact copies of others")
	report(r.Leaked, r.Test, rules.MaxLeak, "test images are training images too")
	for _, text := range examples {
		r.warn("%s", text)
	}
}

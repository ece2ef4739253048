package dataset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

// memoryStore is a bucket in memory.
type memoryStore map[string][]byte

func (m memoryStore) Put(_ context.Context, key string, body []byte) error {
	m[key] = slices.Clone(body)
	return nil
}

func (m memoryStore) Get(_ context.Context, key string) ([]byte, error) {
	b, ok := m[key]
	if !ok {
		return nil, fmt.Errorf("memory: get %s: %w", key, dg.ErrNotFound)
	}
	return slices.Clone(b), nil
}

func (m memoryStore) Keys(_ context.Context, prefix string) ([]string, error) {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(k string) bool { return !strings.HasPrefix(k, prefix) }), nil
}

// colourSet is a small set of three classes with colour.
func colourSet() Set {
	s := Set{Name: "colours", Classes: dg.Classes{"a", "b/c", "d"}, Height: 3, Width: 4, Channels: 3, Resize: ResizeCrop}
	for i := range 9 {
		sp := &s.Train
		if i >= 6 {
			sp = &s.Test
		}
		for k := range s.ImageBytes() {
			sp.Pixels = append(sp.Pixels, byte(i*40+k*7))
		}
		sp.Labels = append(sp.Labels, uint16(i%3))
		sp.IDs = append(sp.IDs, fmt.Sprintf("folder with space/ö %d.jpg", i))
	}
	return s
}

func TestSavedSetsComeBack(t *testing.T) {
	wide := colourSet() // with more classes than one byte can count
	wide.Name, wide.Classes = "wide", nil
	for i := range 300 {
		wide.Classes = append(wide.Classes, fmt.Sprint("class ", i))
	}
	wide.Train.Labels[0], wide.Train.Labels[1] = 299, 256
	noTest := colourSet()
	noTest.Name, noTest.Test = "no-test", Split{}
	st := memoryStore{}
	for _, s := range []Set{Synthetic(SyntheticOptions{Seed: 1, Train: 30, Test: 20}), colourSet(), wide, noTest} {
		t.Run(s.Name, func(t *testing.T) {
			ref, err := Save(t.Context(), st, s)
			if err != nil {
				t.Fatal(err)
			}
			if want := Ref(s.Name + "@" + s.Fingerprint()[:12]); ref != want || ref != s.Ref() {
				t.Errorf("ref %s, want %s", ref, want)
			}
			got, err := Load(t.Context(), st, ref)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(s) {
				t.Error("what came back is not what was saved")
			}
		})
	}
	infos, err := List(t.Context(), st)
	if err != nil || len(infos) != 4 || infos[0].Name != "colours" || infos[0].Train != 6 || infos[3].Ref() != wide.Ref() {
		t.Errorf("List: %+v, %v", infos, err)
	}
}

func TestSavingTwiceWritesOnce(t *testing.T) {
	st, s := memoryStore{}, colourSet()
	ref, err := Save(t.Context(), st, s)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Save(t.Context(), readOnly{st}, s); err != nil || again != ref {
		t.Errorf("second save: %s, %v; want %s and nothing written", again, err, ref)
	}
}

type readOnly struct{ memoryStore }

func (readOnly) Put(context.Context, string, []byte) error { return errors.New("read only") }

func TestAnInterruptedSaveIsNotThere(t *testing.T) {
	st, s := memoryStore{}, colourSet()
	ref, err := Save(t.Context(), st, s)
	if err != nil {
		t.Fatal(err)
	}
	delete(st, s.info().folder()+manifestName)
	if infos, err := List(t.Context(), st); err != nil || len(infos) != 0 {
		t.Errorf("List: %v, %v; want none", infos, err)
	}
	if _, err := Load(t.Context(), st, ref); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("Load: %v, want ErrNotFound", err)
	}
	if _, err := Save(t.Context(), st, s); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), st, ref); err != nil {
		t.Errorf("after saving again: %v", err)
	}
}

func TestLoadRefusesWhatWasChanged(t *testing.T) {
	s := colourSet()
	other := colourSet()
	other.Train.Pixels[5]++
	other.Train.IDs[0] = "another"
	other.Train.Labels[0] = 2
	changed, err := other.encode(other.Train)
	if err != nil {
		t.Fatal(err)
	}
	shorter := Split{Pixels: s.Train.Pixels[:s.ImageBytes()], Labels: s.Train.Labels[:1], IDs: s.Train.IDs[:1]}
	short, err := s.encode(shorter)
	if err != nil {
		t.Fatal(err)
	}
	folder := s.info().folder()
	for _, tt := range []struct {
		name string
		edit func(memoryStore)
		want string
	}{
		{"a pixel", func(m memoryStore) { m[folder+"train-images.idx.gz"] = changed[imagesName] }, "fingerprint"},
		{"a label", func(m memoryStore) { m[folder+"train-labels.idx.gz"] = changed[labelsName] }, "fingerprint"},
		{"an id", func(m memoryStore) { m[folder+"train-ids.txt.gz"] = changed[idsName] }, "the ids are not those"},
		{"fewer images", func(m memoryStore) { m[folder+"train-images.idx.gz"] = short[imagesName] }, "train-images.idx.gz: dimensions [1 3 4 3]"},
		{"fewer labels", func(m memoryStore) { m[folder+"train-labels.idx.gz"] = short[labelsName] }, "train-labels.idx.gz"},
		{"fewer ids", func(m memoryStore) { m[folder+"train-ids.txt.gz"] = short[idsName] }, "1 ids"},
		{"a cut file", func(m memoryStore) {
			m[folder+"test-images.idx.gz"] = m[folder+"test-images.idx.gz"][:20]
		}, "test-images.idx.gz"},
		{"a manifest of a format to come", func(m memoryStore) {
			m[folder+manifestName] = []byte(strings.Replace(string(m[folder+manifestName]), `"format": 1`, `"format": 2`, 1))
		}, "format 2"},
		{"a manifest of another set", func(m memoryStore) {
			m[folder+manifestName] = []byte(strings.Replace(string(m[folder+manifestName]), `"colours"`, `"other"`, 1))
		}, "do not belong here"},
		{"no JSON", func(m memoryStore) { m[folder+manifestName] = []byte("{") }, "unexpected end of JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := memoryStore{}
			ref, err := Save(t.Context(), st, s)
			if err != nil {
				t.Fatal(err)
			}
			tt.edit(st)
			if _, err := Load(t.Context(), st, ref); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestRefs(t *testing.T) {
	for _, bad := range []Ref{"", "garments", "garments@123", "../x@0123456789ab", "a/b@0123456789ab", "Garments@0123456789ab", "g@0123456789AB", "g@0123456789abc"} {
		if _, _, err := ParseRef(bad); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("ParseRef(%q): %v, want ErrInvalid", bad, err)
		}
	}
	if name, fp, err := ParseRef("food-11@0123456789ab"); name != "food-11" || fp != "0123456789ab" || err != nil {
		t.Errorf("got %q %q %v", name, fp, err)
	}
	s := colourSet()
	s.Name = "Not a Name"
	if _, err := Save(t.Context(), memoryStore{}, s); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("Save: %v, want ErrInvalid", err)
	}
}

func TestFingerprintSeesEverythingThatMatters(t *testing.T) {
	base := colourSet().Fingerprint()
	for name, edit := range map[string]func(*Set){
		"class":      func(s *Set) { s.Classes[0] = "x" },
		"shape":      func(s *Set) { s.Height, s.Width = 4, 3 },
		"pixel":      func(s *Set) { s.Test.Pixels[0]++ },
		"label":      func(s *Set) { s.Train.Labels[5] = 0 },
		"split":      func(s *Set) { s.Train, s.Test = s.Test, s.Train },
		"order":      func(s *Set) { s.Train.Labels[0], s.Train.Labels[1] = s.Train.Labels[1], s.Train.Labels[0] },
		"class list": func(s *Set) { s.Classes = append(s.Classes, "e") },
	} {
		s := colourSet()
		if edit(&s); s.Fingerprint() == base {
			t.Errorf("another %s, the same fingerprint", name)
		}
	}
	s := colourSet()
	s.Name, s.Train.IDs[0] = "other", "other"
	if s.Fingerprint() != base {
		t.Error("names count")
	}
}

package demo

import (
	"bytes"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate"
)

func TestACrowdNamesEveryMistake(t *testing.T) {
	err := Crowd{Rate: 41, For: -time.Second}.Validate()
	if !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), "rate 41") || !strings.Contains(err.Error(), "for -1s") {
		t.Errorf("error %v", err)
	}
	if err := (Crowd{Rate: 40, For: time.Second}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestALaterCrowdKnowsWhatAnEarlierOneSent(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notes.csv")
	begin := func() (*world, func() error) {
		w := &world{classes: driftgate.FashionMNIST, truth: map[string]int{}}
		end, err := w.remember(name)
		if err != nil {
			t.Fatal(err)
		}
		return w, end
	}
	first, end := begin()
	first.learn("a.png", 9)
	first.learn("b.png", 0)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	second, end := begin()
	second.learn("c.png", 3)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	third, end := begin()
	if err := end(); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{"a.png": 9, "b.png": 0, "c.png": 3} {
		if class, ok := third.class(id); !ok || class != want {
			t.Errorf("%s: class %d, known %t, want %d", id, class, ok, want)
		}
	}
	if b, err := os.ReadFile(name); err != nil || strings.Count(string(b), "id,label") != 1 {
		t.Errorf("notes %q, %v: want one header", b, err)
	}
}

func TestBrokenNotesAreNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notes.csv")
	if err := os.WriteFile(name, []byte("id,label\na.png\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{classes: driftgate.FashionMNIST, truth: map[string]int{}}
	if _, err := w.remember(name); !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), name) {
		t.Errorf("error %v", err)
	}
}

func TestAPictureIsOfItsClassAndItsSeed(t *testing.T) {
	boot, err := Picture("Ankle boot", false, 1)
	again, _ := Picture("Ankle boot", false, 1)
	other, _ := Picture("Ankle boot", false, 2)
	turned, _ := Picture("Ankle boot", true, 1)
	if err != nil || !bytes.Equal(boot, again) || bytes.Equal(boot, other) || bytes.Equal(boot, turned) {
		t.Errorf("one picture a seed and a turn: %v", err)
	}
	if img, err := png.Decode(bytes.NewReader(boot)); err != nil || img.Bounds().Dx() != 28 {
		t.Errorf("no PNG: %v", err)
	}
	if _, err := Picture("Spaceship", false, 1); !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), "Ankle boot") {
		t.Errorf("an unknown class: %v", err)
	}
}

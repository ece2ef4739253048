package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

// tile is a small picture, different for every n.
func tile(n int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, 12, 10))
	for i := range 120 {
		img.SetRGBA(i%12, i/12, color.RGBA{byte(n), byte(n >> 8), byte(i * (n + 1)), 255})
	}
	return img
}

// plant writes n tiles into a folder; names are made by name(i).
func plant(t *testing.T, root, dir string, first, n int, name func(i int) string) {
	t.Helper()
	folder := filepath.Join(root, dir)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := first; i < first+n; i++ {
		b := encodePNG(t, tile(i))
		if strings.HasSuffix(name(i), ".jpg") {
			b = encodeJPEG(t, tile(i))
		}
		if err := os.WriteFile(filepath.Join(folder, name(i)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func numbered(form string) func(int) string {
	return func(i int) string { return fmt.Sprintf(form, i) }
}

var small = FolderOptions{Height: 8, MinPerFolder: 3}

func TestReadFolderLayouts(t *testing.T) {
	classFolders := func(dirs ...string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			at := 0
			for _, d := range dirs {
				for _, c := range []string{"zebra", "ant eater"} {
					plant(t, root, filepath.Join(d, c), at, 4, numbered("%d.png"))
					at += 4
				}
			}
		}
	}
	food := func(t *testing.T, root string) {
		for k, d := range []string{"training", "validation", "evaluation"} {
			for c := range 11 {
				plant(t, root, d, 100*k+8*c, 2, func(i int) string { return fmt.Sprintf("%d_%d.jpg", c, i) })
			}
		}
	}
	foodFolders := func(form func(int) string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			for k, d := range []string{"training", "evaluation"} {
				for c := range 11 {
					plant(t, root, filepath.Join(d, form(c)), 100*k+8*c, 3, func(i int) string { return fmt.Sprintf("%d_%d.jpg", c, i) })
				}
			}
		}
	}
	animals := dg.Classes{"ant eater", "zebra"}
	for _, tt := range []struct {
		name        string
		plant       func(*testing.T, string)
		classes     dg.Classes
		train, test int
		id          string // one of the training split ...
		label       string // ... and its label
	}{
		{"train and test", classFolders("train", "test"), animals, 8, 8, "train/zebra/0.png", "zebra"},
		{"training, validation, evaluation", classFolders("training", "validation", "evaluation"), animals, 16, 8, "validation/ant eater/12.png", "ant eater"},
		{"Food-11's file names", food, dg.Food11, 44, 22, "training/6_48.jpg", "Noodles/Pasta"},
		{"Food-11 in numbered folders", foodFolders(numbered("class_%02d")), dg.Food11, 33, 33, "training/class_10/10_80.jpg", "Vegetable/Fruit"},
		{"Food-11 in folders with its labels", foodFolders(func(c int) string { return strings.ReplaceAll(dg.Food11[c], "/", "-") }), dg.Food11, 33, 33, "training/Noodles-Pasta/6_48.jpg", "Noodles/Pasta"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			tt.plant(t, root)
			s, r, err := ReadFolder(root, small)
			if err != nil || r.Err() != nil {
				t.Fatal(err, r.Err())
			}
			if !slices.Equal(s.Classes, tt.classes) {
				t.Errorf("classes %q, want %q", s.Classes, tt.classes)
			}
			if s.Train.Len() != tt.train || s.Test.Len() != tt.test {
				t.Errorf("%d + %d images, want %d + %d", s.Train.Len(), s.Test.Len(), tt.train, tt.test)
			}
			i := slices.Index(s.Train.IDs, tt.id)
			if i < 0 || s.Classes[s.Train.Labels[i]] != tt.label {
				t.Errorf("%s should be a %s: %q %v", tt.id, tt.label, s.Train.IDs, s.Train.Labels)
			}
			if s.Height != 8 || s.Width != 8 || s.Channels != 3 || len(r.LeftOut) != 0 {
				t.Errorf("shape %d x %d x %d, left out %q", s.Height, s.Width, s.Channels, r.LeftOut)
			}
			if again, _, err := ReadFolder(root, small); err != nil || again.Fingerprint() != s.Fingerprint() {
				t.Errorf("reading again gives another set: %v", err)
			}
		})
	}
}

func TestReadFolderPixelsAreThoseOfServing(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "train/a", 0, 3, numbered("%d.png"))
	plant(t, root, "train/b", 3, 3, numbered("%d.jpg"))
	s, _, err := ReadFolder(root, small)
	if err != nil {
		t.Fatal(err)
	}
	for _, sp := range []Split{s.Train, s.Test} {
		for i, id := range sp.IDs {
			b, err := os.ReadFile(filepath.Join(root, id))
			if err != nil {
				t.Fatal(err)
			}
			img, _, err := Decode(b, DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.Preprocessing().Raster(img), s.Image(sp, i)) {
				t.Errorf("%s: the set has other pixels than an upload of the file", id)
			}
		}
	}
}

func TestFlatFoldersAreSplitByNameForGood(t *testing.T) {
	root := t.TempDir()
	for k, c := range []string{"a", "b"} {
		plant(t, root, c, 100*k, 60, numbered("%d.png"))
	}
	s, r, err := ReadFolder(root, small)
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if n := s.Test.Len(); n < 12 || n > 36 {
		t.Errorf("%d of 120 are for the test, want about 24", n)
	}
	plant(t, root, "c", 300, 40, numbered("%d.png"))
	more, _, err := ReadFolder(root, small)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range s.Test.IDs {
		if !slices.Contains(more.Test.IDs, id) {
			t.Errorf("%s left the test split when the set grew", id)
		}
	}
}

func TestSmallFoldersAreLeftOutWithAReport(t *testing.T) {
	root := t.TempDir()
	for k, c := range []string{"a", "b", "few"} {
		n := []int{15, 20, 14}[k]
		plant(t, root, "train/"+c, 100*k, n, numbered("%d.png"))
		plant(t, root, "test/"+c, 100*k+50, 2, numbered("%d.png"))
	}
	s, r, err := ReadFolder(root, FolderOptions{Height: 8})
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if !slices.Equal(s.Classes, dg.Classes{"a", "b"}) || s.Train.Len() != 35 || s.Test.Len() != 4 {
		t.Errorf("classes %q, %d + %d images", s.Classes, s.Train.Len(), s.Test.Len())
	}
	if len(r.LeftOut) != 1 || !strings.Contains(r.LeftOut[0], `"few": 14 training images, want at least 15`) {
		t.Errorf("left out: %q", r.LeftOut)
	}
	if s, _, err := ReadFolder(root, FolderOptions{Height: 8, Classes: dg.Classes{"few", "b", "a"}}); err != nil || len(s.Classes) != 3 || s.Train.Len() != 49 {
		t.Errorf("a class list that was asked for stays whole: %q, %v", s.Classes, err)
	}
}

func TestReadFolderSaysWhatItDidNotRead(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "train/a", 0, 3, numbered("%d.png"))
	plant(t, root, "train/b", 3, 3, numbered("%d.PNG"))
	plant(t, root, "train/a", 6, 1, numbered("%d.gif"))
	plant(t, root, "train", 7, 1, numbered("stray%d.png"))
	plant(t, root, "old", 8, 1, numbered("%d.png"))
	plant(t, root, "train/a/.thumbnails", 9, 1, numbered("%d.png"))
	plant(t, root, "train/a/deeper", 10, 1, numbered("%d.png"))
	s, r, err := ReadFolder(root, FolderOptions{Height: 8, MinPerFolder: 1, TestShare: 1e-9})
	if err != nil {
		t.Fatal(err)
	}
	if s.Train.Len() != 7 {
		t.Errorf("ids %q", s.Train.IDs)
	}
	want := []string{"old: not one of the folders for training and test", "train/a: 1 files that are not named .jpg, .jpeg or .png", "train/stray7.png: not an image in a class folder"}
	if !slices.Equal(r.LeftOut, want) {
		t.Errorf("left out %q, want %q", r.LeftOut, want)
	}
}

func TestBrokenFilesStopTheLoadAndAreAllNamed(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "train/a", 0, 8, numbered("%d.png"))
	plant(t, root, "train/b", 8, 8, numbered("%d.jpg"))
	broken := map[string]struct {
		content []byte
		want    string
	}{
		"train/a/zero.png":      {nil, "the file is empty"},
		"train/a/text.jpg":      {[]byte("not at all an image"), "not an image"},
		"train/b/cut.jpg":       {encodeJPEG(t, tile(1))[:300], "truncated jpeg"},
		"train/b/cut.png":       {encodePNG(t, tile(1))[:60], "truncated png"},
		"train/b/bomb.png":      {bomb(20000, 10000), "200 megapixels"},
		"train/b/many bytes.js": {nil, ""},
	}
	for name, b := range broken {
		if err := os.WriteFile(filepath.Join(root, name), b.content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var calls []int
	o := small
	o.Progress = func(done, total int) { calls = append(calls, done) }
	s, _, err := ReadFolder(root, o)
	if !errors.Is(err, dg.ErrInvalid) || s.Train.Len() != 0 {
		t.Fatalf("%d images, %v; want none and ErrInvalid", s.Train.Len(), err)
	}
	for name, b := range broken {
		if i := strings.Index(err.Error(), filepath.Join(root, name)); b.want != "" && (i < 0 || !strings.Contains(strings.SplitN(err.Error()[i:], "\n", 2)[0], b.want)) {
			t.Errorf("%s with %q is not named in:\n%v", name, b.want, err)
		}
	}
	if len(calls) != 21 || !slices.IsSorted(calls) || calls[20] != 21 {
		t.Errorf("progress %v, want 1 to 21", calls)
	}
}

func TestManyBrokenFilesAreCounted(t *testing.T) {
	root := t.TempDir()
	for i := range 50 {
		plant(t, root, "train/a", i, 1, numbered("%d.png"))
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("train/a/%d.png", i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := ReadFolder(root, small); err == nil || !strings.Contains(err.Error(), "and 30 other files") {
		t.Errorf("got %v, want 20 files and the number of the others", err)
	}
}

func TestReadFolderRefuses(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "train/a", 0, 4, numbered("%d.png"))
	plant(t, root, "train/b", 4, 4, numbered("%d.png"))
	strange := t.TempDir()
	plant(t, strange, "training", 0, 3, numbered("99_%d.png"))
	for _, tt := range []struct {
		name string
		dir  string
		o    FolderOptions
		kind error
		want string
	}{
		{"no such folder", filepath.Join(root, "none"), small, os.ErrNotExist, "none"},
		{"an empty folder", t.TempDir(), small, dg.ErrNotFound, "no images"},
		{"a class that is not in the list", root, FolderOptions{Height: 8, Classes: dg.Classes{"a", "c"}}, dg.ErrInvalid, `folder "b" is not one of the classes`},
		{"a class number that Food-11 has not", strange, small, dg.ErrInvalid, "class 99: want 0 to 10"},
		{"more than the memory allowed", root, FolderOptions{Height: 100, MinPerFolder: 1, MaxBytes: 1 << 10}, dg.ErrInvalid, "choose a smaller size"},
		{"a wrong resize rule", root, FolderOptions{Height: 8, Resize: "x"}, dg.ErrInvalid, `resize "x"`},
		{"a wrong name", root, FolderOptions{Height: 8, Name: "A B"}, dg.ErrInvalid, `name "A B"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := ReadFolder(tt.dir, tt.o)
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %v with %q", err, tt.kind, tt.want)
			}
		})
	}
}

func TestNamesAreMadeFit(t *testing.T) {
	for in, want := range map[string]string{"Food 101 (mini)": "food-101-mini-", "..": "images", "ok_1.2": "ok_1.2", "Ä": "-"} {
		got := fitName(in)
		if in == "Ä" {
			want = "images"
		}
		if got != want || ValidName(got) != nil {
			t.Errorf("fitName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRealFoodPhotos(t *testing.T) {
	s, r, err := ReadFolder(testData(t, "food11-sample"), FolderOptions{Height: 64, Rules: Rules{MinPerClass: -1}})
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if s.Train.Len()+s.Test.Len() != 27 || !slices.Equal(s.Classes, dg.Food11) || s.Name != "food11-sample" {
		t.Errorf("%d + %d images of %q", s.Train.Len(), s.Test.Len(), s.Classes)
	}
	if err := Validate(s, Rules{}).Err(); err == nil || !strings.Contains(err.Error(), `class "Bread": 0 training images`) {
		t.Errorf("the sample has no bread, which the report should say: %v", err)
	}
}

func TestRealFoodFolders(t *testing.T) {
	s, r, err := ReadFolder(testData(t, "food101-mini"), FolderOptions{Height: 32})
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if s.Train.Len() != 3750 || s.Test.Len() != 1250 || len(s.Classes) != 10 || s.Classes[9] != "breakfast_burrito" {
		t.Errorf("%d + %d images of %q", s.Train.Len(), s.Test.Len(), s.Classes)
	}
	t.Logf("warnings %q", r.Warnings)
}

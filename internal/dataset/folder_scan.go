package dataset

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
)

// A photo is one image file found in a folder, not read yet.
type photo struct {
	path  string // to open
	id    string // relative to the root, with slashes
	class string // folder name, or label
	test  bool
}

// A scan is what a folder holds.
type scan struct {
	photos  []photo
	classes dg.Classes
	leftOut []string
}

// What the folders of a split are called.
var splitNames = map[string]string{
	"train": "train", "training": "train",
	"val": "train", "valid": "train", "validation": "train",
	"test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}

var food11Name = regexp.MustCompile(`^([0-9]{1,2})_[0-9]+\.[A-Za-z]+$`)

// scanFolder finds images and class list below root, by file names alone.
func scanFolder(root string, o FolderOptions) (scan, error) {
	tops, err := os.ReadDir(root)
	if err != nil {
		return scan{}, err
	}
	s := scan{}
	splits := map[string][]string{}
	for _, e := range tops {
		if part := splitNames[strings.ToLower(e.Name())]; part != "" && isDir(root, e) {
			splits[part] = append(splits[part], e.Name())
		}
	}
	if len(splits["train"]) == 0 {
		splits = map[string][]string{"train": {"."}}
	} else {
		for _, e := range tops {
			if splitNames[strings.ToLower(e.Name())] == "" && !hidden(e.Name()) {
				s.leftOut = append(s.leftOut, fmt.Sprintf("%s: not one of the folders for training and test", e.Name()))
			}
		}
	}
	for _, part := range []string{"train", "test"} {
		for _, dir := range splits[part] {
			if err := s.scanSplit(root, dir, part == "test", o); err != nil {
				return scan{}, err
			}
		}
	}
	if err := s.nameClasses(o.Classes); err != nil {
		return scan{}, err
	}
	s.leaveOutSmall(o.MinPerFolder, len(o.Classes) > 0)
	if len(splits["test"]) == 0 {
		for i := range s.photos {
			s.photos[i].test = dg.Held(s.photos[i].id, o.TestShare)
		}
	}
	slices.SortFunc(s.photos, func(a, b photo) int { return strings.Compare(a.id, b.id) })
	return s, nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") || name == "Thumbs.db" }

// isDir follows a symbolic link once.
func isDir(parent string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	st, err := os.Stat(filepath.Join(parent, e.Name()))
	return err == nil && st.IsDir()
}

// scanSplit finds the images of one split: in class folders, or else directly
// in it, named as in Food-11.
func (s *scan) scanSplit(root, dir string, test bool, o FolderOptions) error {
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return err
	}
	folders := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !hidden(e.Name()) && isDir(filepath.Join(root, dir), e) })
	food := o.Classes
	if food == nil {
		food = dg.Food11
	}
	for _, e := range entries {
		rel := path.Join(dir, e.Name())
		switch {
		case hidden(e.Name()):
		case isDir(filepath.Join(root, dir), e):
			if err := s.scanClass(root, rel, e.Name(), test); err != nil {
				return err
			}
		case folders || !imageName(e.Name()):
			s.leftOut = append(s.leftOut, rel+": not an image in a class folder")
		default:
			m := food11Name.FindStringSubmatch(e.Name())
			if m == nil {
				s.leftOut = append(s.leftOut, rel+": in no class folder, and not named {class}_{number} as in Food-11")
				continue
			}
			n, _ := strconv.Atoi(m[1]) // the form allows two digits at most
			label, err := food.Label(n)
			if err != nil {
				return fmt.Errorf("%s: %w", rel, err)
			}
			s.photos = append(s.photos, photo{filepath.Join(root, rel), rel, label, test})
			s.classes = food
		}
	}
	return nil
}

// scanClass finds the images of one class folder, at any depth.
func (s *scan) scanClass(root, rel, class string, test bool) error {
	entries, err := os.ReadDir(filepath.Join(root, rel))
	if err != nil {
		return err
	}
	other := 0
	for _, e := range entries {
		child := path.Join(rel, e.Name())
		switch {
		case hidden(e.Name()):
		case e.IsDir(): // links to folders could go in circles
			if err := s.scanClass(root, child, class, test); err != nil {
				return err
			}
		case imageName(e.Name()):
			s.photos = append(s.photos, photo{filepath.Join(root, child), child, class, test})
		default:
			other++
		}
	}
	if other > 0 {
		s.leftOut = append(s.leftOut, fmt.Sprintf("%s: %d files that are not named .jpg, .jpeg or .png", rel, other))
	}
	return nil
}

func imageName(name string) bool {
	return slices.Contains([]string{".jpg", ".jpeg", ".png"}, strings.ToLower(filepath.Ext(name)))
}

// nameClasses turns folder names into labels: those of want; or Food-11's, when
// the folders are numbered class_00 to class_10 or bear its labels; or else the
// sorted folder names themselves.
func (s *scan) nameClasses(want dg.Classes) error {
	if s.classes != nil || len(s.photos) == 0 { // named by file
		return nil
	}
	seen := map[string]bool{}
	for _, p := range s.photos {
		seen[p.class] = true
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	switch label := Labeller(dg.Food11); {
	case want != nil:
		s.classes = want
	case len(names) == len(dg.Food11) && !slices.ContainsFunc(names, func(n string) bool { return label(n) == "" }):
		s.classes = dg.Food11
	default:
		s.classes = names
	}
	label := Labeller(s.classes)
	for i, p := range s.photos {
		if s.photos[i].class = label(p.class); s.photos[i].class == "" {
			return fmt.Errorf("%s: folder %q is not one of the classes %q: %w", p.id, p.class, []string(s.classes), dg.ErrInvalid)
		}
	}
	return nil
}

// Labeller maps a folder name to its label in the class list, or to "": class_00
// and so on, or the label itself. A folder cannot be called Noodles/Pasta, so -
// and _ may stand for the slash.
func Labeller(classes dg.Classes) func(folder string) string {
	names := map[string]string{}
	for i, label := range classes {
		names[fmt.Sprintf("class_%02d", i)] = label
	}
	for _, label := range classes {
		for _, stand := range []string{"-", "_"} {
			names[strings.ReplaceAll(label, "/", stand)] = label
		}
	}
	for _, label := range classes { // exact names win
		names[label] = label
	}
	return func(folder string) string { return names[folder] }
}

// leaveOutSmall drops the classes whose training folder holds fewer than least
// images, and says so. A class list that was given stays whole.
func (s *scan) leaveOutSmall(least int, given bool) {
	if len(s.photos) == 0 || slices.Equal(s.classes, dg.Food11) || given {
		return
	}
	count := map[string]int{}
	for _, p := range s.photos {
		if !p.test {
			count[p.class]++
		}
	}
	var kept dg.Classes
	for _, c := range s.classes {
		if count[c] >= least {
			kept = append(kept, c)
			continue
		}
		s.leftOut = append(s.leftOut, fmt.Sprintf("class %q: %d training images, want at least %d", c, count[c], least))
	}
	s.classes = kept
	s.photos = slices.DeleteFunc(s.photos, func(p photo) bool { return kept.Index(p.class) < 0 })
}

package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	dg "driftgate"
)

// FolderOptions says how to read an image folder. A zero field means the
// default named beside it.
type FolderOptions struct {
	Name          string     // of the set; default: the folder's, made fit
	Height, Width int        // pixels of every image in the set; 224 x 224
	Channels      int        // 3, colour; or 1, grey
	Resize        string     // ResizeCrop; or ResizeStretch
	Classes       dg.Classes // the class list; default: Food-11's where it fits, else the sorted folder names
	MinPerFolder  int        // training images below which a class folder is left out; 15, and 1 means none is
	TestShare     float64    // of the images that become the test split when there is no test folder; 0.2
	Limits        Limits     // of each file; DefaultLimits
	MaxBytes      int64      // of all pixels of the set in memory; 4 GiB
	Threads       int        // images decoded at a time; GOMAXPROCS
	Rules         Rules      // what the report holds the set to

	// Progress is called now and then, by one goroutine at a time.
	Progress func(done, total int)
}

func (o FolderOptions) orDefault(dir string) FolderOptions {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&o.Height, 224)
	set(&o.Width, o.Height)
	set(&o.Channels, 3)
	set(&o.MinPerFolder, 15)
	set(&o.Threads, runtime.GOMAXPROCS(0))
	if o.Resize == "" {
		o.Resize = ResizeCrop
	}
	if o.TestShare == 0 {
		o.TestShare = 0.2
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 4 << 30
	}
	if o.Name == "" {
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
		o.Name = fitName(filepath.Base(dir))
	}
	return o
}

// fitName turns any folder name into one that [ValidName] accepts.
func fitName(s string) string {
	s = regexp.MustCompile(`[^a-z0-9._-]+`).ReplaceAllString(strings.ToLower(s), "-")
	s = strings.TrimLeft(s, "._-")
	if s = s[:min(len(s), 63)]; s == "" {
		return "images"
	}
	return s
}

// ReadFolder reads JPEG and PNG files into one set. It understands
//
//   - Food-11's naming, {class}_{n}.jpg, in training/, validation/ and
//     evaluation/, or directly in dir;
//   - one folder a class below train/ and test/, or below training/,
//     validation/ and evaluation/, or directly in dir.
//
// Validation images belong to the training split. Without a test folder a
// stable hash of the file's name picks the test split. The id of an image is
// its path below dir.
//
// Every file that is broken, truncated, too large or not an image is named in
// the error, which is then [dg.ErrInvalid], and there is no set. The report
// says what was left out and how the set stands up to [Validate].
func ReadFolder(dir string, o FolderOptions) (Set, Report, error) {
	o = o.orDefault(dir)
	fail := func(r Report, err error) (Set, Report, error) {
		return Set{}, r, fmt.Errorf("dataset: read folder %s: %w", dir, err)
	}
	p := Set{Height: o.Height, Width: o.Width, Channels: o.Channels, Resize: o.Resize}.Preprocessing()
	if err := errors.Join(p.Validate(), ValidName(o.Name)); err != nil {
		return fail(Report{}, err)
	}
	found, err := scanFolder(dir, o)
	r := Report{Name: o.Name, LeftOut: found.leftOut}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", dg.ErrNotFound, err)
	}
	if err != nil {
		return fail(r, err)
	}
	if len(found.photos) == 0 {
		return fail(r, fmt.Errorf("no images: want {class}_{n}.jpg as in Food-11, or one folder a class: %w", dg.ErrNotFound))
	}
	if need := int64(len(found.photos)) * int64(p.Size()); need > o.MaxBytes {
		return fail(r, fmt.Errorf("%d images of %d x %d x %d take %d bytes, want at most %d: choose a smaller size: %w",
			len(found.photos), o.Height, o.Width, o.Channels, need, o.MaxBytes, dg.ErrInvalid))
	}
	s := Set{Name: o.Name, Classes: found.classes, Height: o.Height, Width: o.Width, Channels: o.Channels, Resize: o.Resize}
	slots := s.assign(found)
	if err := readPhotos(found.photos, slots, p, o); err != nil {
		return fail(r, err)
	}
	checked := Validate(s, o.Rules)
	checked.LeftOut = found.leftOut
	return s, checked, nil
}

// assign sets ids and labels, makes room for the pixels, and returns for each
// photo where its pixels go.
func (s *Set) assign(found scan) [][]byte {
	for _, p := range found.photos {
		sp := &s.Train
		if p.test {
			sp = &s.Test
		}
		sp.IDs = append(sp.IDs, p.id)
		sp.Labels = append(sp.Labels, uint16(found.classes.Index(p.class)))
	}
	s.Train.Pixels = make([]byte, s.Train.Len()*s.ImageBytes())
	s.Test.Pixels = make([]byte, s.Test.Len()*s.ImageBytes())
	slots := make([][]byte, len(found.photos))
	train, test := 0, 0
	for i, p := range found.photos {
		if p.test {
			slots[i], test = s.Image(s.Test, test), test+1
		} else {
			slots[i], train = s.Image(s.Train, train), train+1
		}
	}
	return slots
}

// maxNamed bounds how many broken files or records an error names.
const maxNamed = 20

// readPhotos decodes all files into their slots, a few at a time. It goes on
// after a broken one, so that one run names them all.
func readPhotos(photos []photo, slots [][]byte, p Preprocessing, o FolderOptions) error {
	faults := make([]error, len(photos))
	var next atomic.Int64
	var mu sync.Mutex
	done := 0
	var wg sync.WaitGroup
	for range min(o.Threads, len(photos)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(photos) {
					return
				}
				faults[i] = readPhoto(photos[i], slots[i], p, o.Limits)
				if o.Progress != nil {
					mu.Lock()
					done++
					o.Progress(done, len(photos))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return joinFaults(faults, "files")
}

// joinFaults joins the errors that are not nil: the first maxNamed in full, and
// the number of the others.
func joinFaults(faults []error, what string) error {
	var some []error
	n := 0
	for _, err := range faults {
		if err == nil {
			continue
		}
		if n++; n <= maxNamed {
			some = append(some, err)
		}
	}
	if n > maxNamed {
		some = append(some, fmt.Errorf("and %d other %s", n-maxNamed, what))
	}
	return errors.Join(some...)
}

func readPhoto(ph photo, slot []byte, p Preprocessing, l Limits) error {
	b, err := readCapped(ph.path, l.orDefault().MaxBytes)
	if err != nil {
		return err
	}
	img, _, err := Decode(b, l)
	if err != nil {
		return fmt.Errorf("%s: %w", ph.path, err)
	}
	copy(slot, p.Raster(img))
	return nil
}

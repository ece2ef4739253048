package dataset

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	dg "driftgate"
)

// FashionMNISTMirror is where [FetchFashionMNIST] looks when no mirror is
// named: the publisher's own.
const FashionMNISTMirror = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

// A fashionFile is one of the four files of Fashion-MNIST.
type fashionFile struct {
	name string // of the gzipped file; the plain one lacks ".gz"
	md5  string // of the uncompressed content: archives differ, the content does not
	dims []int
}

var fashionFiles = [4]fashionFile{
	{"train-images-idx3-ubyte.gz", "f4a8712d7a061bf5bd6d2ca38dc4d50a", []int{60000, Side, Side}},
	{"train-labels-idx1-ubyte.gz", "9018921c3c673c538a1fc5bad174d6f9", []int{60000}},
	{"t10k-images-idx3-ubyte.gz", "8181f5470baa50b63fa0f6fddb340f0a", []int{10000, Side, Side}},
	{"t10k-labels-idx1-ubyte.gz", "15d484375f8d13e6eb1aabb0c3f46965", []int{10000}},
}

// plainName is the file's name without ".gz".
func (f fashionFile) plainName() string { return strings.TrimSuffix(f.name, ".gz") }

// read checks one file, gzipped or plain: its structure, its dimensions and
// the MD5 of its content. The error names the file.
func (f fashionFile) read(name string, b []byte) (IDX, error) {
	fail := func(err error) (IDX, error) {
		return IDX{}, fmt.Errorf("dataset: read %s: %w: %w", name, err, dg.ErrInvalid)
	}
	plain, err := gunzip(b)
	if err != nil {
		return fail(err)
	}
	x, err := parseIDX(plain)
	if err != nil {
		return fail(err)
	}
	if !slices.Equal(x.Dims, f.dims) {
		return fail(fmt.Errorf("dimensions %v: Fashion-MNIST has %v", x.Dims, f.dims))
	}
	if sum := md5.Sum(plain); hex.EncodeToString(sum[:]) != f.md5 {
		return fail(fmt.Errorf("md5 of the content is %x: Fashion-MNIST has %s; the file is damaged or another data set's", sum, f.md5))
	}
	return x, nil
}

// fashionSet joins the four files, whose content read returns.
func fashionSet(read func(f fashionFile) (IDX, error)) (Set, error) {
	var part [4]IDX
	for i, f := range fashionFiles {
		x, err := read(f)
		if err != nil {
			return Set{}, err
		}
		part[i] = x
	}
	return Set{
		Name: "fashion-mnist", Classes: slices.Clone(dg.FashionMNIST), Height: Side, Width: Side, Channels: 1,
		Train: idxSplit("train", part[0], part[1]), Test: idxSplit("test", part[2], part[3]),
	}, nil
}

func idxSplit(name string, images, labels IDX) Split {
	s := Split{Pixels: images.Data, Labels: make([]uint16, len(labels.Data)), IDs: make([]string, len(labels.Data))}
	for i, l := range labels.Data {
		s.Labels[i] = uint16(l)
		s.IDs[i] = fmt.Sprintf("%s/%05d", name, i)
	}
	return s
}

// ReadFashionMNIST reads the four IDX files, gzipped or plain, from a folder
// and checks each against its published MD5. A missing file is
// [dg.ErrNotFound], a damaged one [dg.ErrInvalid]; both are named.
func ReadFashionMNIST(dir string) (Set, error) {
	return fashionSet(func(f fashionFile) (IDX, error) {
		for _, name := range []string{f.name, f.plainName()} {
			path := filepath.Join(dir, name)
			b, err := readCapped(path, maxIDX)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return IDX{}, fmt.Errorf("dataset: read fashion-mnist: %w", err)
			}
			return f.read(path, b)
		}
		return IDX{}, fmt.Errorf("dataset: read fashion-mnist: no %s (nor without .gz) in %s: %w", f.name, dir, dg.ErrNotFound)
	})
}

// LoadFashionMNIST reads the four IDX files from a store, below a prefix such
// as "raw/fashion-mnist/"; it checks what [ReadFashionMNIST] checks.
func LoadFashionMNIST(ctx context.Context, st Store, prefix string) (Set, error) {
	return fashionSet(func(f fashionFile) (IDX, error) {
		for _, name := range []string{f.name, f.plainName()} {
			b, err := st.Get(ctx, prefix+name)
			if errors.Is(err, dg.ErrNotFound) {
				continue
			}
			if err != nil {
				return IDX{}, fmt.Errorf("dataset: load fashion-mnist: %w", err)
			}
			return f.read(prefix+name, b)
		}
		return IDX{}, fmt.Errorf("dataset: load fashion-mnist: no %s%s (nor without .gz): %w", prefix, f.name, dg.ErrNotFound)
	})
}

// readCapped reads a regular file of at most limit bytes.
func readCapped(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", path, dg.ErrInvalid)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d: %w", path, st.Size(), limit, dg.ErrInvalid)
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// maxArchive bounds one download; the largest of the four is 26 MB.
const maxArchive = 64 << 20

// FetchFashionMNIST downloads into dir those of the four files that are not
// there yet in good order, from mirror/<name>; an empty mirror means
// [FashionMNISTMirror]. Each file is checked before it takes its name, so a
// broken download leaves nothing behind.
func FetchFashionMNIST(ctx context.Context, mirror, dir string) error {
	if mirror == "" {
		mirror = FashionMNISTMirror
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("dataset: fetch fashion-mnist: %w", err)
	}
	client := &http.Client{Timeout: 15 * time.Minute}
	for _, f := range fashionFiles {
		path := filepath.Join(dir, f.name)
		if b, err := readCapped(path, maxArchive); err == nil {
			if _, err := f.read(path, b); err == nil {
				continue
			}
		}
		url := strings.TrimSuffix(mirror, "/") + "/" + f.name
		b, err := download(ctx, client, url)
		if err != nil {
			return fmt.Errorf("dataset: fetch %s: %w", url, err)
		}
		if _, err := f.read(url, b); err != nil {
			return err
		}
		if err := writeWhole(path, b); err != nil {
			return fmt.Errorf("dataset: fetch %s: %w", url, err)
		}
	}
	return nil
}

func download(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // the files are archives themselves
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the mirror answered %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxArchive+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxArchive {
		return nil, fmt.Errorf("more than %d bytes: %w", maxArchive, dg.ErrInvalid)
	}
	return b, nil
}

// writeWhole writes a file that appears under its name complete or not at all.
func writeWhole(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when renamed
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

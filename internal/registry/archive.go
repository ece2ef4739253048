package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
)

// A model travels as a tar archive: an index with the name and the digest of
// every file, then the files. The same model gives the same bytes, and an
// import accepts no others.
const (
	indexFile     = "driftgate-model.json"
	archiveFormat = 1
	maxIndex      = 64 << 10
)

// MaxArchive bounds an exported model, in bytes.
const MaxArchive = 1 << 30

type archiveIndex struct {
	FormatVersion  int           `json:"format_version"`  // of the archive
	ArtifactFormat int           `json:"artifact_format"` // of the artifact in it
	Version        dg.ModelRef   `json:"version"`
	Files          []archiveFile `json:"files"` // in the order of the archive
}

type archiveFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hex
}

// archive is a model on its way.
type archive struct {
	index    archiveIndex
	contents map[string][]byte
}

// Export writes a model as one file that [Registry.Import] reads, here or in
// another installation, with its signature if it has one. It is verified as by
// [Registry.Load] before the first byte is written.
func (r *Registry) Export(ctx context.Context, ref dg.ModelRef, w io.Writer) error {
	contents, signature, err := r.read(ctx, ref, r.o.Keys)
	if err != nil {
		return fmt.Errorf("registry: export: %w", err)
	}
	if signature != nil {
		contents[network.SignatureFile] = signature
	}
	a, err := newArchive(ref, contents)
	if err == nil {
		err = a.write(w)
	}
	if err != nil {
		return fmt.Errorf("registry: export %s: %w", ref.Short(), err)
	}
	return nil
}

func newArchive(ref dg.ModelRef, contents map[string][]byte) (archive, error) {
	format, err := network.FormatOf(contents[network.ManifestFile])
	if err != nil {
		return archive{}, err
	}
	a := archive{archiveIndex{archiveFormat, format, ref, nil}, contents}
	for _, name := range travelling(format) {
		if b, ok := contents[name]; ok {
			sum := sha256.Sum256(b)
			a.index.Files = append(a.index.Files, archiveFile{name, int64(len(b)), hex.EncodeToString(sum[:])})
		}
	}
	return a, nil
}

// travelling lists what an archive of an artifact format may hold, in order.
func travelling(format int) []string {
	return append(network.FileNames(format), network.SignatureFile)
}

func (a archive) write(w io.Writer) error {
	index, err := encodeRecord(a.index)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	put := func(name string, b []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := t.Write(b)
		return err
	}
	if err := put(indexFile, index); err != nil {
		return err
	}
	for _, f := range a.index.Files {
		if err := put(f.Name, a.contents[f.Name]); err != nil {
			return err
		}
	}
	return t.Close()
}

// Import stores a model that [Registry.Export] has written and returns its
// name; one that is stored already is no error. Nothing is stored of a file
// that is altered, cut off, too large or of a newer format: the error is then
// [dg.ErrInvalid] and says which. Where signatures are asked for, a model
// without a trusted one is [dg.ErrRefused]. A model that is imported is not
// promoted, nor signed: its own signature stays with it.
func (r *Registry) Import(ctx context.Context, from io.Reader) (dg.ModelRef, error) {
	a, err := readArchive(from)
	if err != nil {
		return "", fmt.Errorf("registry: import: %w", err)
	}
	ref, err := r.admit(ctx, a)
	if err != nil {
		return "", fmt.Errorf("registry: import %s: %w", a.index.Version.Short(), err)
	}
	return ref, nil
}

// admit looks at a whole archive in the order of [Registry.Load]: signature,
// digest, contents, answers.
func (r *Registry) admit(ctx context.Context, a archive) (dg.ModelRef, error) {
	ref := a.index.Version
	signature := a.contents[network.SignatureFile]
	delete(a.contents, network.SignatureFile)
	if err := r.o.Keys.check(ref, signature); err != nil {
		return "", err
	}
	if signature != nil {
		if _, err := network.ReadSignature(signature); err != nil {
			return "", err
		}
	}
	if got := network.Digest(a.contents); got != ref {
		return "", fmt.Errorf("the contents are those of %s: %w", got.Short(), dg.ErrInvalid)
	}
	artifact, _, err := network.ReadArtifact(a.contents)
	if err != nil {
		return "", err
	}
	if _, err := network.NewClassifier(artifact); err != nil {
		return "", err
	}
	return ref, r.save(ctx, ref, a.contents, signature)
}

var errCutOff = fmt.Errorf("the file is cut off or no model: export it again: %w", dg.ErrInvalid)

// readArchive reads a whole archive and checks every byte of it: what it holds,
// written again, must be what was read.
func readArchive(from io.Reader) (archive, error) {
	sum := sha256.New()
	limited := &io.LimitedReader{R: from, N: MaxArchive + 1}
	in := io.TeeReader(limited, sum)
	a, err := parseArchive(in)
	if err == nil {
		_, err = io.Copy(io.Discard, in) // what follows the archive counts too
	}
	switch {
	case limited.N <= 0:
		return a, fmt.Errorf("larger than %d bytes: %w", int64(MaxArchive), dg.ErrInvalid)
	case err != nil:
		return a, err
	}
	again := sha256.New()
	if err := a.write(again); err != nil {
		return a, fmt.Errorf("%w: %w", err, dg.ErrInvalid)
	}
	if !bytes.Equal(sum.Sum(nil), again.Sum(nil)) {
		return a, fmt.Errorf("the file was altered, or packed by another program: want it byte for byte as driftgate models export wrote it: %w", dg.ErrInvalid)
	}
	return a, nil
}

func parseArchive(in io.Reader) (a archive, err error) {
	t := tar.NewReader(in)
	index, err := entry(t, indexFile, -1)
	if err != nil {
		return a, err
	}
	if a.index, err = parseIndex(index); err != nil {
		return a, err
	}
	a.contents = map[string][]byte{}
	for _, f := range a.index.Files {
		b, err := entry(t, f.Name, f.Size)
		if err != nil {
			return a, err
		}
		if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != f.SHA256 {
			return a, fmt.Errorf("%s was altered: its digest is not that of the index: %w", f.Name, dg.ErrInvalid)
		}
		a.contents[f.Name] = b
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return a, fmt.Errorf("something follows the last file of the index: %w", dg.ErrInvalid)
	}
	return a, nil
}

// entry reads the next file, which must be the one that is expected; size -1
// is the index, which may have any up to its bound.
func entry(t *tar.Reader, name string, size int64) ([]byte, error) {
	h, err := t.Next()
	if err != nil {
		return nil, broken(err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("the file holds %.100q where %s belongs: %w", h.Name, name, dg.ErrInvalid)
	}
	if size < 0 && h.Size > maxIndex || size >= 0 && h.Size != size {
		return nil, fmt.Errorf("%s has %d bytes, want what the index says: %w", name, h.Size, dg.ErrInvalid)
	}
	var b bytes.Buffer // grows with what is really there
	if _, err := io.CopyN(&b, t, h.Size); err != nil {
		return nil, broken(err)
	}
	return b.Bytes(), nil
}

// broken tells a file that ends early, or is none of ours, from a connection
// that failed.
func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return errCutOff
	}
	return err
}

func parseIndex(b []byte) (x archiveIndex, err error) {
	bad := func(format string, args ...any) (archiveIndex, error) {
		return x, fmt.Errorf("%s: %s: %w", indexFile, fmt.Sprintf(format, args...), dg.ErrInvalid)
	}
	if err := json.Unmarshal(b, &x); err != nil {
		return bad("%v", err)
	}
	if x.FormatVersion != archiveFormat {
		return bad("format version %d, this driftgate reads %d: a newer driftgate reads it", x.FormatVersion, archiveFormat)
	}
	if x.ArtifactFormat < 1 || x.ArtifactFormat > network.FormatVersion {
		return bad("artifact format %d, this driftgate reads 1 to %d: a newer driftgate reads it", x.ArtifactFormat, network.FormatVersion)
	}
	if err := validRef(x.Version); err != nil {
		return bad("%v", err)
	}
	names := travelling(x.ArtifactFormat)
	if len(x.Files) == len(names)-1 {
		names = names[:len(names)-1] // not signed
	}
	if len(x.Files) != len(names) {
		return bad("%d files, want %v", len(x.Files), names)
	}
	for i, f := range x.Files {
		if f.Name != names[i] || f.Size < 0 || f.Size > MaxArchive {
			return bad("file %.100q of %d bytes, want %s", f.Name, f.Size, names[i])
		}
	}
	return x, nil
}

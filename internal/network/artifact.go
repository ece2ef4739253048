package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	dg "driftgate"
)

// The files of an artifact.
const (
	WeightsFile  = "weights.safetensors"
	ManifestFile = "manifest.json"
	LabelsFile   = "labels.txt"
	ONNXFile     = "model.onnx" // since format 2
)

// FileNames lists the files of an artifact of a format version, the manifest last.
func FileNames(format int) []string {
	if format < 2 {
		return []string{WeightsFile, LabelsFile, ManifestFile}
	}
	return []string{WeightsFile, ONNXFile, LabelsFile, ManifestFile}
}

// maxManifest bounds the manifest: a million ids fit.
const maxManifest = 64 << 20

// Artifact is a trained model: immutable, named by the digest of its files.
type Artifact struct {
	Manifest Manifest
	Weights  Weights
}

// Files encodes the artifact in the newest format: weights.safetensors,
// model.onnx, labels.txt, manifest.json. The same artifact gives the same bytes. The format version and the checksum
// are set here. The error is [dg.ErrInvalid] when manifest and weights do not
// make a model.
func (a *Artifact) Files() (map[string][]byte, error) {
	m := a.Manifest
	m.FormatVersion = FormatVersion
	m.Checksum = zeroSum
	m.StartedAt, m.FinishedAt = m.StartedAt.UTC(), m.FinishedAt.UTC()
	if len(m.Options) == 0 {
		m.Options = json.RawMessage("{}")
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := a.Weights.Check(m.Spec); err != nil {
		return nil, err
	}
	weights, err := EncodeSafetensors(a.Weights, map[string]string{"format": "pt", "driftgate": m.Model})
	if err != nil {
		return nil, err
	}
	graph, err := ONNX(&Artifact{m, a.Weights})
	if err != nil {
		return nil, err
	}
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("network: encode manifest: %w: %w", dg.ErrInvalid, err)
	}
	manifest = append(manifest, '\n')
	files := map[string][]byte{
		WeightsFile:  weights,
		ONNXFile:     graph,
		ManifestFile: manifest,
		LabelsFile:   []byte(strings.Join(m.Classes, "\n") + "\n"),
	}
	sum := string(Digest(files))
	if bytes.Count(manifest, []byte(zeroSum)) != 1 {
		return nil, fmt.Errorf("network: encode manifest: it holds %q elsewhere: %w", zeroSum, dg.ErrInvalid)
	}
	files[ManifestFile] = bytes.Replace(manifest, []byte(zeroSum), []byte(sum), 1)
	return files, nil
}

// zeroSum stands in the manifest for the checksum while that is computed.
var zeroSum = "sha256:" + strings.Repeat("0", 64)

// Digest names a set of files by their contents: the SHA-256 over name and
// contents of each, in the order of names, each preceded by its length.
func Digest(files map[string][]byte) dg.ModelRef {
	h := sha256.New()
	var n [8]byte
	put := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		put([]byte(name))
		put(files[name])
	}
	return dg.ModelRef("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// ReadArtifact decodes an artifact's files and returns it with its name. It
// refuses, as [dg.ErrInvalid] and with the reason: a missing or unknown file, a
// newer format, a byte that is not what was written, weights that do not fit
// the architecture, labels that are not the classes.
func ReadArtifact(files map[string][]byte) (*Artifact, dg.ModelRef, error) {
	if _, ok := files[ManifestFile]; !ok {
		return nil, "", fmt.Errorf("network: read artifact: %s is missing: %w", ManifestFile, dg.ErrInvalid)
	}
	m, err := readManifest(files[ManifestFile])
	if err != nil {
		return nil, "", err
	}
	names := FileNames(m.FormatVersion)
	for _, name := range names {
		if _, ok := files[name]; !ok {
			return nil, "", fmt.Errorf("network: read artifact: %s is missing: %w", name, dg.ErrInvalid)
		}
	}
	for name := range files {
		if !slices.Contains(names, name) {
			return nil, "", fmt.Errorf("network: read artifact: file %q is not part of one, want %v: %w", name, names, dg.ErrInvalid)
		}
	}
	if err := checkSum(files, m.Checksum); err != nil {
		return nil, "", err
	}
	if err := m.Validate(); err != nil {
		return nil, "", err
	}
	if want := strings.Join(m.Classes, "\n") + "\n"; string(files[LabelsFile]) != want {
		return nil, "", fmt.Errorf("network: read artifact: %s differs from the manifest's classes: %w", LabelsFile, dg.ErrInvalid)
	}
	tensors, _, err := DecodeSafetensors(files[WeightsFile])
	if err != nil {
		return nil, "", err
	}
	w := Weights(tensors)
	if err := w.Check(m.Spec); err != nil {
		return nil, "", err
	}
	return &Artifact{Manifest: m, Weights: w}, Digest(files), nil
}

// FilesOf lists the files of the artifact to which a manifest belongs, the
// manifest last. The error is that of [FormatOf].
func FilesOf(manifest []byte) ([]string, error) {
	format, err := FormatOf(manifest)
	if err != nil {
		return nil, err
	}
	return FileNames(format), nil
}

// FormatOf reads the format version of a manifest. The error is
// [dg.ErrInvalid], and names the versions that are read when it is a newer one.
func FormatOf(manifest []byte) (int, error) {
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(manifest, &version); err != nil { // refuses text after the end, which a Decoder would not
		return 0, fmt.Errorf("network: read manifest: %w: %w", dg.ErrInvalid, err)
	}
	if version.FormatVersion < 1 || version.FormatVersion > FormatVersion {
		return 0, fmt.Errorf("network: read manifest: format version %d, this driftgate reads 1 to %d: a newer driftgate reads it: %w", version.FormatVersion, FormatVersion, dg.ErrInvalid)
	}
	return version.FormatVersion, nil
}

func readManifest(b []byte) (m Manifest, err error) {
	if len(b) > maxManifest {
		return m, fmt.Errorf("network: read manifest: %d bytes, want at most %d: %w", len(b), maxManifest, dg.ErrInvalid)
	}
	if _, err := FormatOf(b); err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("network: read manifest: %w: %w", dg.ErrInvalid, err)
	}
	return m, nil
}

// checkSum computes the digest of the files with the checksum's digits as
// zeros, the way Files made it.
func checkSum(files map[string][]byte, sum string) error {
	manifest := files[ManifestFile]
	if len(sum) != len(zeroSum) || bytes.Count(manifest, []byte(sum)) != 1 {
		return fmt.Errorf("network: read artifact: checksum %.80q: want sha256: and 64 digits, once: %w", sum, dg.ErrInvalid)
	}
	blank := maps.Clone(files)
	blank[ManifestFile] = bytes.Replace(manifest, []byte(sum), []byte(zeroSum), 1)
	if got := string(Digest(blank)); got != sum {
		return fmt.Errorf("network: read artifact: contents have checksum %s, the manifest says %s: the artifact was altered or cut off: %w", got, sum, dg.ErrInvalid)
	}
	return nil
}

package objstore

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/minio/minio-go/v7/pkg/tags"

	dg "driftgate"
)

// Limits of keys and tags: S3's own, and for a segment those of the file
// systems below the embedded server and MinIO.
const (
	maxKeyBytes     = 1024
	maxSegmentBytes = 255
	maxTags         = 10
)

// reservedSegment is where the embedded server stages what it writes.
const reservedSegment = ".sgwtmp"

// ValidKey reports as [driftgate.ErrInvalid] why a key cannot be used: some
// server would refuse it, or store it under another name.
func ValidKey(key string) error {
	bad := func(want string) error { return fmt.Errorf("key %q: want %s: %w", clip(key), want, dg.ErrInvalid) }
	switch {
	case key == "":
		return bad("at least one character")
	case len(key) > maxKeyBytes:
		return bad(fmt.Sprintf("at most %d bytes, not %d", maxKeyBytes, len(key)))
	case !utf8.ValidString(key):
		return bad("UTF-8")
	case strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0xfffe || r == 0xffff }):
		return bad("no control characters") // XML listings cannot carry them
	case strings.Contains(key, `\`):
		return bad(`no \`) // MinIO refuses it
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "":
			return bad("no / at either end and no //")
		case segment == "." || segment == "..":
			return bad("no . or .. between slashes")
		case segment == reservedSegment:
			return bad("no " + reservedSegment + " between slashes: the embedded store keeps it for itself")
		case len(segment) > maxSegmentBytes:
			return bad(fmt.Sprintf("at most %d bytes between slashes, not %d", maxSegmentBytes, len(segment)))
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// ValidTags reports as [driftgate.ErrInvalid] why tags cannot be stored, every
// fault at once. The client below would drop the whole set without a word if
// one tag were bad. It, and MinIO, take ASCII only.
func ValidTags(set map[string]string) error {
	var errs []error
	if len(set) > maxTags {
		errs = append(errs, fmt.Errorf("%d tags, want at most %d: %w", len(set), maxTags, dg.ErrInvalid))
	}
	for key, value := range set {
		if err := dg.ValidTag(key, value); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := tags.NewTags(map[string]string{key: value}, true); err != nil {
			errs = append(errs, fmt.Errorf("tag %s=%q: want ASCII letters, digits, spaces and + - = . _ : / @ only: %w", key, value, dg.ErrInvalid))
		}
	}
	return errors.Join(errs...)
}

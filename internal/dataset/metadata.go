package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"iter"

	dg "driftgate"
)

// uprightQuality is the JPEG quality of photos that have to be turned.
const uprightQuality = 92

// StripMetadata returns the image without EXIF (camera, GPS), XMP, IPTC,
// comments, texts, thumbnails and whatever follows its end; colour profiles
// stay. The pixels are not touched when the image is upright; otherwise it is
// turned and encoded anew. format is [JPEG] or [PNG]; every error is
// [dg.ErrInvalid].
func StripMetadata(b []byte, format string) ([]byte, error) {
	out, err := strip(b, format)
	if err != nil {
		return nil, fmt.Errorf("dataset: strip metadata: %w: %w", err, dg.ErrInvalid)
	}
	return out, nil
}

func strip(b []byte, format string) ([]byte, error) {
	got, err := sniff(b)
	if err != nil {
		return nil, err
	}
	if got != format {
		return nil, fmt.Errorf("the file is %s, not %q", got, format)
	}
	if orientation(b, format) != 1 {
		if b, err = encodeUpright(b, format); err != nil {
			return nil, err
		}
	}
	if format == PNG {
		return stripPNG(b)
	}
	return stripJPEG(b)
}

// encodeUpright turns the image and encodes it anew, with its colour profile
// when that still fits.
func encodeUpright(b []byte, format string) ([]byte, error) {
	img, _, err := Decode(b, DefaultLimits)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if format == PNG {
		err = png.Encode(&out, img) // 16-bit channels become 8
		return out.Bytes(), err
	}
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: uprightQuality}); err != nil {
		return nil, err
	}
	var icc []byte
	components := 0
	for s := range jpegSegments(b) {
		if s.marker == 0xe2 && bytes.HasPrefix(s.data, iccMark) {
			icc = append(icc, s.whole...)
		}
		if s.frame() && len(s.data) > 5 {
			components = int(s.data[5])
		}
	}
	if _, grey := img.(*image.Gray); len(icc) == 0 || components != 3 && !grey {
		return out.Bytes(), nil
	}
	return append(append([]byte("\xff\xd8"), icc...), out.Bytes()[2:]...), nil
}

var (
	jfifMark = []byte("JFIF\x00")
	iccMark  = []byte("ICC_PROFILE\x00")
)

// A jpegSegment is one marker segment; whole is all its bytes, with the
// entropy-coded data behind it when it starts a scan.
type jpegSegment struct {
	marker byte
	data   []byte // behind the length
	whole  []byte
}

// frame reports whether s is a start-of-frame segment.
func (s jpegSegment) frame() bool {
	return s.marker >= 0xc0 && s.marker <= 0xcf && s.marker != 0xc4 && s.marker != 0xc8 && s.marker != 0xcc
}

// jpegSegments yields the segments between the start and the end of the image,
// and last the end-of-image marker itself; what follows it is left out. When
// the file is broken it stops early, without that marker.
func jpegSegments(b []byte) iter.Seq[jpegSegment] {
	return func(yield func(jpegSegment) bool) {
		for at := 2; at+2 <= len(b); {
			if b[at] != 0xff {
				return
			}
			marker := b[at+1]
			switch {
			case marker == 0xff: // a fill byte
				at++
				continue
			case marker == 0xd9:
				yield(jpegSegment{marker: marker, whole: b[at : at+2]})
				return
			case marker == 0x01 || marker >= 0xd0 && marker <= 0xd7: // stand alone
				at += 2
				continue
			}
			if at+4 > len(b) {
				return
			}
			end := at + 2 + int(binary.BigEndian.Uint16(b[at+2:]))
			if end < at+4 || end > len(b) {
				return
			}
			s := jpegSegment{marker: marker, data: b[at+4 : end]}
			if marker == 0xda {
				end = entropyEnd(b, end)
			}
			s.whole = b[at:end]
			if !yield(s) {
				return
			}
			at = end
		}
	}
}

// entropyEnd finds the first marker at or behind at that is neither a stuffed
// zero nor a restart.
func entropyEnd(b []byte, at int) int {
	for {
		i := bytes.IndexByte(b[at:], 0xff)
		if i < 0 || at+i+1 >= len(b) {
			return len(b)
		}
		at += i
		if m := b[at+1]; m != 0 && (m < 0xd0 || m > 0xd7) && m != 0xff {
			return at
		}
		at++
	}
}

// stripJPEG copies what decoding needs, byte for byte.
func stripJPEG(b []byte) ([]byte, error) {
	out := append(make([]byte, 0, len(b)), 0xff, 0xd8)
	for s := range jpegSegments(b) {
		switch {
		case s.marker == 0xd9:
			return append(out, s.whole...), nil
		case s.marker == 0xe0 && bytes.HasPrefix(s.data, jfifMark) && len(s.data) >= 14:
			out = append(out, 0xff, 0xe0, 0, 16)
			out = append(out, s.data[:12]...)
			out = append(out, 0, 0) // without its thumbnail
		case s.marker == 0xe2 && bytes.HasPrefix(s.data, iccMark),
			s.marker == 0xee && bytes.HasPrefix(s.data, []byte("Adobe")):
			out = append(out, s.whole...)
		case s.marker >= 0xe0 && s.marker <= 0xef, s.marker == 0xfe, s.marker >= 0xf0 && s.marker <= 0xfd:
			// metadata, comments, extensions
		default:
			out = append(out, s.whole...)
		}
	}
	return nil, errors.New("truncated jpeg: no end-of-image marker where one belongs")
}

// A pngChunk is one chunk; whole is all its bytes.
type pngChunk struct {
	kind  string
	data  []byte
	whole []byte
}

// pngChunks yields the chunks up to and with IEND. When the file is broken it
// stops early, without IEND.
func pngChunks(b []byte) iter.Seq[pngChunk] {
	return func(yield func(pngChunk) bool) {
		for at := 8; at+12 <= len(b); {
			n := uint64(binary.BigEndian.Uint32(b[at:]))
			if n > uint64(len(b)-at-12) {
				return
			}
			end := at + 12 + int(n)
			c := pngChunk{kind: string(b[at+4 : at+8]), data: b[at+8 : end-4], whole: b[at:end]}
			if crc32.ChecksumIEEE(b[at+4:end-4]) != binary.BigEndian.Uint32(b[end-4:]) {
				return
			}
			if !yield(c) || c.kind == "IEND" {
				return
			}
			at = end
		}
	}
}

// stripPNG keeps the chunks that say how the pixels look, and no other.
func stripPNG(b []byte) ([]byte, error) {
	out := append(make([]byte, 0, len(b)), b[:8]...)
	for c := range pngChunks(b) {
		switch c.kind {
		case "IEND":
			return append(out, c.whole...), nil
		case "IHDR", "PLTE", "IDAT", "tRNS", "cHRM", "gAMA", "iCCP", "sBIT", "sRGB", "cICP", "bKGD", "pHYs":
			out = append(out, c.whole...)
		default:
			if c.kind[0]&0x20 == 0 { // critical: decoding needs it
				return nil, fmt.Errorf("png chunk %q: not a chunk of the standard", c.kind)
			}
		}
	}
	return nil, errors.New("broken or truncated png: no IEND chunk where one belongs")
}

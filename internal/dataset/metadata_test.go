package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dg "driftgate"
)

// laden is a JPEG of arrow with everything that must go, and an ICC profile,
// which must stay.
func laden(t testing.TB, orientation int) []byte {
	b := withSegments(encodeJPEG(t, turned(arrow(), orientation)),
		segment(0xe0, append([]byte("JFIF\x00\x01\x02\x01\x00\x48\x00\x48\x01\x01"), 1, 2, 3)...), // with a thumbnail of one pixel
		exifSegment(orientation),
		segment(0xe1, []byte("http://ns.adobe.com/xap/1.0/\x00"+secret)...),
		segment(0xe2, []byte("ICC_PROFILE\x00\x01\x01profile")...),
		segment(0xe2, []byte("MPF\x00"+secret)...),
		segment(0xed, []byte("Photoshop 3.0\x00"+secret)...),
		segment(0xfe, []byte(secret)...),
	)
	return append(b, "behind the end "+secret...)
}

func TestStripMetadataJPEG(t *testing.T) {
	for o := 1; o <= 8; o++ {
		in := laden(t, o)
		out, err := StripMetadata(in, JPEG)
		if err != nil {
			t.Fatal(err)
		}
		checkClean(t, out, JPEG)
		if !bytes.Contains(out, []byte("ICC_PROFILE\x00\x01\x01profile")) {
			t.Errorf("orientation %d: the colour profile is gone", o)
		}
		img, _, err := Decode(out, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		sameLooks(t, img, arrow())
	}
}

func TestStripMetadataLeavesUprightPixelsAlone(t *testing.T) {
	before, _, err := Decode(laden(t, 1), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	out, err := StripMetadata(laden(t, 1), JPEG)
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := Decode(out, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	a, b := before.(*image.YCbCr), after.(*image.YCbCr)
	if !bytes.Equal(a.Y, b.Y) || !bytes.Equal(a.Cb, b.Cb) || !bytes.Equal(a.Cr, b.Cr) {
		t.Error("pixels changed")
	}
	again, err := StripMetadata(out, JPEG)
	if err != nil || !bytes.Equal(again, out) {
		t.Errorf("stripping twice is not stripping once: %v", err)
	}
}

func TestStripMetadataPNG(t *testing.T) {
	for o := 1; o <= 8; o++ {
		in := withChunks(encodePNG(t, turned(arrow(), o)),
			chunk("eXIf", exif(binary.LittleEndian, o)...),
			chunk("tEXt", []byte("Comment\x00"+secret)...),
			chunk("zTXt", []byte("Comment\x00\x00"+secret)...),
			chunk("iTXt", []byte("XML:com.adobe.xmp\x00\x00\x00\x00\x00"+secret)...),
			chunk("tIME", 7, 228, 1, 1, 1, 1, 1),
			chunk("prVt", []byte(secret)...),
			chunk("sRGB", 0),
		)
		in = append(in, secret...)
		out, err := StripMetadata(in, PNG)
		if err != nil {
			t.Fatal(err)
		}
		checkClean(t, out, PNG)
		if o == 1 && !bytes.Contains(out, []byte("sRGB")) {
			t.Error("the colour space is gone")
		}
		img, _, err := Decode(out, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(raster(img, 48, 32, 3, ResizeStretch), raster(arrow(), 48, 32, 3, ResizeStretch)) {
			t.Errorf("orientation %d: pixels changed", o)
		}
	}
}

// checkClean demands that nothing is left that is not about the pixels.
func checkClean(t *testing.T, b []byte, format string) {
	t.Helper()
	for _, trace := range []string{secret, "Exif", "eXIf", "http:", "Photoshop", "MPF", "tEXt", "zTXt", "iTXt", "tIME", "prVt"} {
		if bytes.Contains(b, []byte(trace)) {
			t.Errorf("%s: %q is still there", format, trace)
		}
	}
	if o := orientation(b, format); o != 1 {
		t.Errorf("%s: orientation %d is left", format, o)
	}
	if format == PNG {
		return
	}
	for s := range jpegSegments(b) {
		kept := s.marker == 0xe0 && len(s.data) == 14 || s.marker == 0xe2 && bytes.HasPrefix(s.data, iccMark) || s.marker == 0xee
		if (s.marker >= 0xe0 && s.marker <= 0xef || s.marker == 0xfe) && !kept {
			t.Errorf("segment ff%02x is still there", s.marker)
		}
	}
	if !bytes.HasSuffix(b, []byte{0xff, 0xd9}) {
		t.Error("something follows the end of the image")
	}
}

func TestStripMetadataRefuses(t *testing.T) {
	photo, drawing := encodeJPEG(t, arrow()), encodePNG(t, arrow())
	for _, tt := range []struct {
		name   string
		in     []byte
		format string
		want   string
	}{
		{"nothing", nil, JPEG, "empty"},
		{"a text", []byte("hello, world"), PNG, "not an image"},
		{"a PNG called JPEG", drawing, JPEG, `the file is png, not "jpeg"`},
		{"a cut JPEG", photo[:len(photo)/2], JPEG, "truncated jpeg"},
		{"a cut JPEG that lies on its side", withSegments(photo, exifSegment(6))[:400], JPEG, "truncated jpeg"},
		{"a cut PNG", drawing[:len(drawing)-5], PNG, "truncated png"},
		{"a PNG with a critical chunk of its own", withChunks(drawing, chunk("ABCD", 1)), PNG, `png chunk "ABCD"`},
		{"another format", []byte("GIF89a"), "gif", "a GIF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := StripMetadata(tt.in, tt.format)
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestRealPhotosAreStripped(t *testing.T) {
	withExif, withGPS, turned := 0, 0, 0
	for _, path := range realPhotos(t) {
		name := filepath.Base(path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, exifMark) {
			withExif++
		}
		if hasGPS(b) {
			withGPS++
		}
		out, err := StripMetadata(b, JPEG)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if bytes.Contains(out, exifMark) || hasGPS(out) {
			t.Errorf("%s: EXIF is still there", name)
		}
		before, _, err1 := Decode(b, DefaultLimits)
		after, _, err2 := Decode(out, DefaultLimits)
		if err1 != nil || err2 != nil {
			t.Errorf("%s: %v, %v", name, err1, err2)
			continue
		}
		p := PhotoPreprocessing(16)
		was, is := p.Raster(before), p.Raster(after)
		if orientation(b, JPEG) == 1 {
			if !bytes.Equal(was, is) {
				t.Errorf("%s: pixels changed", name)
			}
			continue
		}
		turned++
		for i := range was {
			if d := int(was[i]) - int(is[i]); d < -10 || d > 10 {
				t.Errorf("%s: turned, value %d was %d, is %d", name, i, was[i], is[i])
				break
			}
		}
	}
	t.Logf("%d photos with EXIF, %d with GPS, %d to be turned", withExif, withGPS, turned)
	if withExif == 0 || withGPS == 0 {
		t.Error("the sample should hold photos with EXIF and GPS: this test sees nothing")
	}
}

// hasGPS looks for the pointer to the GPS directory (tag 0x8825) in the EXIF data.
func hasGPS(b []byte) bool {
	for s := range jpegSegments(b) {
		if s.marker == 0xe1 && bytes.HasPrefix(s.data, exifMark) {
			if bytes.Contains(s.data, []byte{0x88, 0x25, 0, 4}) || bytes.Contains(s.data, []byte{0x25, 0x88, 4, 0}) {
				return true
			}
		}
	}
	return false
}

func FuzzStripMetadata(f *testing.F) {
	for o := 1; o <= 8; o++ {
		f.Add(laden(f, o))
	}
	f.Add(withChunks(encodePNG(f, arrow()), chunk("eXIf", exif(binary.LittleEndian, 6)...), chunk("tEXt", []byte("a\x00b")...)))
	small := Limits{MaxBytes: 1 << 20, MaxPixels: 1 << 16}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, format, err := Decode(b, small)
		if err != nil {
			return
		}
		out, err := StripMetadata(b, format)
		if err != nil {
			if !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("error %v is not ErrInvalid", err)
			}
			return
		}
		if _, _, err := Decode(out, Limits{}); err != nil {
			t.Fatalf("decodes before stripping, but not after: %v", err)
		}
		if o := orientation(out, format); o != 1 {
			t.Fatalf("orientation %d is left", o)
		}
		again, err := StripMetadata(out, format)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("stripping twice is not stripping once: %v", err)
		}
	})
}

package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

func TestDecodeHonoursOrientation(t *testing.T) {
	for o := 1; o <= 8; o++ {
		for _, grey := range []bool{false, true} {
			var img image.Image = arrow()
			if grey {
				g := image.NewGray(img.Bounds())
				for i := range g.Pix {
					g.Pix[i] = luma(arrow().Pix[4*i], arrow().Pix[4*i+1], arrow().Pix[4*i+2])
				}
				img = g
			}
			stored := turned(img, o)
			for format, b := range map[string][]byte{
				JPEG: withSegments(encodeJPEG(t, stored), exifSegment(o)),
				PNG:  withChunks(encodePNG(t, stored), chunk("eXIf", exif(binary.LittleEndian, o)...)),
			} {
				t.Run(fmt.Sprintf("%s %d grey %v", format, o, grey), func(t *testing.T) {
					got, f, err := Decode(b, DefaultLimits)
					if err != nil || f != format {
						t.Fatalf("format %q, %v", f, err)
					}
					sameLooks(t, got, img)
				})
			}
		}
	}
}

func TestTurnsAreWhatTheStandardSays(t *testing.T) {
	// a 2 x 1 image stored as [1 2]: what a viewer must see, row by row
	for o, want := range []string{1: "[1 2] 2x1", 2: "[2 1] 2x1", 3: "[2 1] 2x1", 4: "[1 2] 2x1", 5: "[1 2] 1x2", 6: "[1 2] 1x2", 7: "[2 1] 1x2", 8: "[2 1] 1x2"} {
		if o == 0 {
			continue
		}
		img := &image.Gray{Pix: []byte{1, 2}, Stride: 2, Rect: image.Rect(0, 0, 2, 1)}
		got := upright(img, o).(*image.Gray)
		if s := fmt.Sprintf("%v %dx%d", got.Pix, got.Rect.Dx(), got.Rect.Dy()); s != want {
			t.Errorf("orientation %d: %s, want %s", o, s, want)
		}
	}
	// a 2 x 2 image stored as 1 2 / 3 4 tells the rest apart
	for o, want := range []string{1: "[1 2 3 4]", 2: "[2 1 4 3]", 3: "[4 3 2 1]", 4: "[3 4 1 2]", 5: "[1 3 2 4]", 6: "[3 1 4 2]", 7: "[4 2 3 1]", 8: "[2 4 1 3]"} {
		if o == 0 {
			continue
		}
		img := &image.Gray{Pix: []byte{1, 2, 3, 4}, Stride: 2, Rect: image.Rect(0, 0, 2, 2)}
		if got := upright(img, o).(*image.Gray); fmt.Sprint(got.Pix) != want {
			t.Errorf("orientation %d: %v, want %s", o, got.Pix, want)
		}
	}
}

func TestDecodeRefusesWithAClearText(t *testing.T) {
	photo := encodeJPEG(t, arrow())
	drawing := encodePNG(t, arrow())
	bent := bytes.Clone(drawing)
	bent[len(bent)/2] ^= 0xff
	deep := encodePNG(t, image.NewNRGBA64(image.Rect(0, 0, 40, 40)))
	for _, tt := range []struct {
		name string
		in   []byte
		l    Limits
		want string
	}{
		{"zero bytes", nil, Limits{}, "the file is empty"},
		{"a text", []byte("hello, world"), Limits{}, "not an image"},
		{"a GIF", []byte("GIF89a...."), Limits{}, "a GIF: want a JPEG or PNG"},
		{"a HEIC photo", []byte("\x00\x00\x00\x18ftypheic"), Limits{}, "a HEIC"},
		{"half a JPEG", photo[:len(photo)/2], Limits{}, "truncated jpeg"},
		{"a JPEG without its end", photo[:len(photo)-2], Limits{}, "truncated jpeg"},
		{"three bytes of a JPEG", photo[:3], Limits{}, "truncated jpeg"},
		{"half a PNG", drawing[:len(drawing)/2], Limits{}, "truncated png"},
		{"a PNG with a wrong bit", bent, Limits{}, "broken png"},
		{"too many bytes", photo, Limits{MaxBytes: 100}, "bytes: want at most 100"},
		{"too many pixels", photo, Limits{MaxPixels: 1000}, "32 x 48 pixels are 0.00154 megapixels: want at most 0.001"},
		{"too wide", photo, Limits{MaxSide: 40}, "32 x 48 pixels: want at most 40 a side"},
		{"16 bits a channel", deep, Limits{MaxPixels: 2000}, "count double"},
		{"a bomb of 200 megapixels", bomb(20000, 10000), Limits{}, "20000 x 10000 pixels are 200 megapixels: want at most 50"},
		{"a bomb of the longest sides", bomb(1<<31-1, 1<<31-1), Limits{}, "png"},
		{"49 megapixels in five kilobytes", bomb(7000, 7000), Limits{}, "truncated png: 5057 bytes cannot hold 7000 x 7000 pixels"},
		{"a PNG of no pixels", bomb(0, 5), Limits{}, "png"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Decode(tt.in, tt.l)
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestABombCostsNeitherTimeNorMemory(t *testing.T) {
	bombs := [][]byte{bomb(14143, 14143), bomb(7000, 7000)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for _, b := range bombs {
		if _, _, err := Decode(b, DefaultLimits); err == nil {
			t.Error("a bomb was decoded")
		}
		if _, err := StripMetadata(withChunks(b, chunk("eXIf", exif(binary.BigEndian, 6)...)), PNG); err == nil {
			t.Error("a bomb was turned upright")
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d bytes were allocated, want under 4 MiB", got)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v, want under a second", took)
	}
}

func TestDecodeLetsHonestImagesIn(t *testing.T) {
	black := image.NewGray(image.Rect(0, 0, 4000, 3000)) // compresses as well as an image can
	for format, b := range map[string][]byte{JPEG: encodeJPEG(t, black), PNG: encodePNG(t, black)} {
		if _, _, err := Decode(b, DefaultLimits); err != nil {
			t.Errorf("%s, 12 megapixels black in %d bytes: %v", format, len(b), err)
		}
	}
}

func TestEncodePNGKeepsEveryPixel(t *testing.T) {
	for _, c := range []int{1, 3} {
		px := make([]byte, 5*7*c)
		for i := range px {
			px[i] = byte(i * 37)
		}
		b, err := EncodePNG(px, 5, 7, c)
		if err != nil {
			t.Fatal(err)
		}
		img, format, err := Decode(b, DefaultLimits)
		if err != nil || format != PNG || img.Bounds().Dx() != 7 || img.Bounds().Dy() != 5 {
			t.Fatalf("%d channels: %v %v %v", c, format, img.Bounds(), err)
		}
		if got := raster(img, 5, 7, c, ResizeCrop); !bytes.Equal(got, px) {
			t.Errorf("%d channels: %v, want %v", c, got, px)
		}
	}
	for _, shape := range [][3]int{{5, 7, 2}, {0, 0, 1}, {5, 6, 1}, {-5, -7, 1}} {
		if _, err := EncodePNG(make([]byte, 35), shape[0], shape[1], shape[2]); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("shape %v: %v, want ErrInvalid", shape, err)
		}
	}
}

func TestRealPhotosDecode(t *testing.T) {
	for _, path := range realPhotos(t) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		img, format, err := Decode(b, DefaultLimits)
		if err != nil || format != JPEG {
			t.Errorf("%s: %s %v", filepath.Base(path), format, err)
			continue
		}
		if r := raster(img, 32, 32, 3, ResizeCrop); uniform(r, 3) {
			t.Errorf("%s: nothing to be seen", filepath.Base(path))
		}
		if _, _, err := Decode(b[:len(b)*2/3], DefaultLimits); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s, cut off: %v, want ErrInvalid", filepath.Base(path), err)
		}
	}
}

func realPhotos(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testData(t, "food11-sample"), "*.jpg"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no photos: %v", err)
	}
	return paths
}

func FuzzDecode(f *testing.F) {
	for o := 1; o <= 8; o++ {
		f.Add(withSegments(encodeJPEG(f, arrow()), exifSegment(o)))
	}
	f.Add(withChunks(encodePNG(f, arrow()), chunk("eXIf", exif(binary.LittleEndian, 6)...)))
	f.Add(encodePNG(f, image.NewPaletted(image.Rect(0, 0, 3, 3), color.Palette{color.Black, color.Transparent})))
	f.Add(bomb(300, 300))
	small := Limits{MaxBytes: 1 << 20, MaxPixels: 1 << 16, MaxSide: 1 << 10}
	f.Fuzz(func(t *testing.T, b []byte) {
		img, format, err := Decode(b, small)
		if err != nil {
			if !errors.Is(err, dg.ErrInvalid) || len(err.Error()) > 500 {
				t.Fatalf("error %q: want ErrInvalid, short", err)
			}
			return
		}
		if format != JPEG && format != PNG || img.Bounds().Dx()*img.Bounds().Dy() > small.MaxPixels {
			t.Fatalf("%s of %v", format, img.Bounds())
		}
		GarmentPreprocessing().Image(img)
		PhotoPreprocessing(9).Image(img)
	})
}

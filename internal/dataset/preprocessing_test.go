package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

// pattern is the image that the golden numbers below were computed from.
func pattern(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetRGBA(x, y, color.RGBA{byte(x*x*7 + y*13), byte(x*31 + y*y*5), byte(x*y*3 + 17), 255})
		}
	}
	return img
}

// TestResizingEqualsPillow compares with Pillow's resize(BILINEAR) and
// convert("L"), so that models trained elsewhere see the same pixels here.
func TestResizingEqualsPillow(t *testing.T) {
	for _, tt := range []struct {
		name           string
		img            image.Image
		h, w, channels int
		rule           string
		want           []byte
	}{
		{"down, colour, stretched", pattern(23, 17), 4, 6, 3, ResizeStretch, []byte{60, 85, 28, 130, 154, 49, 138, 105, 72, 128, 151, 95, 99, 107, 107, 100, 139, 104, 108, 137, 48, 135, 127, 109, 116, 126, 150, 136, 124, 138, 74, 120, 120, 79, 124, 121, 155, 128, 71, 133, 134, 153, 136, 120, 108, 131, 129, 122, 125, 121, 127, 133, 124, 125, 170, 122, 91, 113, 122, 136, 132, 123, 124, 121, 137, 113, 161, 125, 121, 175, 132, 123}},
		{"down, grey, stretched", pattern(23, 17), 4, 6, 1, ResizeStretch, []byte{72, 135, 111, 137, 104, 124, 119, 128, 126, 129, 106, 110, 130, 136, 124, 129, 123, 127, 133, 121, 126, 130, 135, 144}},
		{"up, colour, stretched", pattern(3, 4), 6, 5, 3, ResizeStretch, []byte{0, 0, 17, 3, 12, 17, 7, 31, 17, 20, 50, 17, 28, 62, 17, 7, 3, 17, 10, 15, 18, 14, 34, 19, 27, 53, 20, 35, 65, 20, 15, 8, 17, 18, 20, 18, 22, 39, 21, 35, 58, 23, 43, 70, 24, 24, 17, 17, 27, 29, 19, 31, 48, 22, 44, 67, 26, 52, 79, 28, 33, 33, 17, 36, 45, 20, 40, 64, 25, 53, 83, 29, 61, 95, 32, 39, 45, 17, 42, 57, 21, 46, 76, 26, 59, 95, 31, 67, 107, 35}},
		{"narrower and higher, grey", pattern(40, 3), 5, 5, 1, ResizeStretch, []byte{97, 121, 117, 117, 119, 97, 124, 122, 118, 120, 98, 128, 130, 120, 121, 101, 120, 125, 127, 135, 103, 114, 122, 132, 145}},
		{"wide, cropped", pattern(23, 17), 4, 4, 1, ResizeCrop, []byte{136, 114, 134, 103, 130, 125, 127, 105, 138, 125, 129, 122, 121, 126, 130, 133}},
		{"high, cropped", pattern(9, 20), 3, 3, 1, ResizeCrop, []byte{120, 127, 127, 122, 139, 135, 134, 137, 126}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := raster(tt.img, tt.h, tt.w, tt.channels, tt.rule); !bytes.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestServingSeesWhatTrainingSaw(t *testing.T) {
	photos := Set{Height: 9, Width: 9, Channels: 3}
	for c := range 3 {
		img := raster(pattern(31+c, 40), 9, 9, 3, ResizeCrop)
		photos.Train.Pixels = append(photos.Train.Pixels, img...)
		photos.Train.Labels = append(photos.Train.Labels, uint16(c))
	}
	for _, set := range []Set{Synthetic(SyntheticOptions{Seed: 5, Train: 10}), photos} {
		for _, rule := range []string{ResizeCrop, ResizeStretch} {
			p := set.Preprocessing()
			p.Resize = rule
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			all := make([]float32, len(set.Train.Pixels))
			p.Pixels(set.Train.Pixels, all)
			for i := range set.Train.Len() {
				b, err := EncodePNG(set.Image(set.Train, i), set.Height, set.Width, set.Channels)
				if err != nil {
					t.Fatal(err)
				}
				img, _, err := Decode(b, DefaultLimits)
				if err != nil {
					t.Fatal(err)
				}
				if got := p.Image(img); !slices.Equal(got, all[i*p.Size():(i+1)*p.Size()]) {
					t.Fatalf("%d channels, %s, image %d: an upload of it gives other numbers", set.Channels, rule, i)
				}
			}
		}
	}
}

func TestNormalisation(t *testing.T) {
	garments := make([]float32, Side*Side)
	px := make([]byte, Side*Side)
	px[1], px[2] = 255, 128
	GarmentPreprocessing().Pixels(px, garments)
	for i, want := range []float64{-0.28600 / 0.353, 0.714 / 0.353, (128./255 - 0.286) / 0.353} {
		if math.Abs(float64(garments[i])-want) > 1e-6 {
			t.Errorf("value %d is %g, want %g", i, garments[i], want)
		}
	}
	p := PhotoPreprocessing(1)
	photo := make([]float32, 3)
	p.Pixels([]byte{0, 128, 255}, photo)
	for i, want := range []float64{-0.485 / 0.229, (128./255 - 0.456) / 0.224, (1 - 0.406) / 0.225} {
		if math.Abs(float64(photo[i])-want) > 1e-6 {
			t.Errorf("channel %d is %g, want %g", i, photo[i], want)
		}
	}
}

func TestColourBecomesGreyAndGreyBecomesColour(t *testing.T) {
	img := image.NewRGBA(image.Rect(0, 0, 4, 1))
	for x, c := range []color.RGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {77, 77, 77, 255}} {
		img.SetRGBA(x, 0, c)
	}
	if got := raster(img, 1, 4, 1, ResizeStretch); !bytes.Equal(got, []byte{76, 150, 29, 77}) {
		t.Errorf("grey %v, want [76 150 29 77]", got)
	}
	g := &image.Gray{Pix: []byte{0, 7, 255}, Stride: 3, Rect: image.Rect(0, 0, 3, 1)}
	if got := raster(g, 1, 3, 3, ResizeStretch); !bytes.Equal(got, []byte{0, 0, 0, 7, 7, 7, 255, 255, 255}) {
		t.Errorf("colour %v", got)
	}
	clear := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	clear.SetNRGBA(0, 0, color.NRGBA{200, 200, 200, 0})
	if got := raster(clear, 1, 1, 3, ResizeStretch); !bytes.Equal(got, []byte{0, 0, 0}) {
		t.Errorf("transparent became %v, want black", got)
	}
}

func TestImagesNeedNotBeginAtTheOrigin(t *testing.T) {
	whole := pattern(40, 30)
	part := whole.SubImage(image.Rect(7, 5, 36, 27))
	moved := image.NewRGBA(image.Rect(0, 0, 29, 22))
	for y := range 22 {
		for x := range 29 {
			moved.Set(x, y, whole.At(7+x, 5+y))
		}
	}
	for _, rule := range []string{ResizeCrop, ResizeStretch} {
		if !bytes.Equal(raster(part, 8, 8, 3, rule), raster(moved, 8, 8, 3, rule)) {
			t.Errorf("%s: a part of an image is not read from its own corner", rule)
		}
	}
}

func TestExtremeShapes(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 5000}, {5000, 1}, {29, 28}} {
		img := image.NewGray(image.Rect(0, 0, size[0], size[1]))
		for i := range img.Pix {
			img.Pix[i] = 200
		}
		for _, rule := range []string{ResizeCrop, ResizeStretch} {
			p := GarmentPreprocessing()
			p.Resize = rule
			for i, v := range p.Raster(img) {
				if v != 200 {
					t.Fatalf("%v, %s: value %d is %d, want 200 as everywhere", size, rule, i, v)
				}
			}
		}
	}
}

func TestPreprocessingReportsEveryFaultAtOnce(t *testing.T) {
	nan := float32(math.NaN())
	p := Preprocessing{Width: 0, Height: 2000, Channels: 2, Resize: "squeeze", Mean: []float32{nan}, Std: []float32{0}}
	err := p.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
	for _, want := range []string{"size 0 x 2000", "channels 2", `resize "squeeze"`, "1 means and 1", "mean NaN", "std 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in: %v", want, err)
		}
	}
}

func TestPreprocessingTravelsAsJSON(t *testing.T) {
	for _, p := range []Preprocessing{GarmentPreprocessing(), PhotoPreprocessing(224)} {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Preprocessing
		if err := json.Unmarshal(b, &back); err != nil || fmt.Sprint(back) != fmt.Sprint(p) {
			t.Errorf("%s came back as %v, %v", b, back, err)
		}
	}
	b, _ := json.Marshal(GarmentPreprocessing())
	if want := `{"width":28,"height":28,"channels":1,"resize":"stretch","mean":[0.286],"std":[0.353]}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
}

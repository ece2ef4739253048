package dataset

import (
	"bytes"
	"compress/gzip"
	"errors"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

func mustIDX(t testing.TB, data []byte, dims ...int) []byte {
	t.Helper()
	b, err := IDX{Dims: dims, Data: data}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIDXComesBackAsWritten(t *testing.T) {
	for _, x := range []IDX{
		{Dims: []int{3}, Data: []byte{0, 9, 255}},
		{Dims: []int{2, 2, 3}, Data: []byte("abcdefghijkl")},
		{Dims: []int{1, 2, 2, 3}, Data: []byte("abcdefghijkl")},
		{Dims: []int{0, 28, 28}, Data: []byte{}},
	} {
		plain := mustIDX(t, x.Data, x.Dims...)
		zipped, err := compress(plain, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"plain": plain, "gzipped": zipped} {
			got, err := ReadIDX(b)
			if err != nil || !slices.Equal(got.Dims, x.Dims) || !bytes.Equal(got.Data, x.Data) {
				t.Errorf("%s %v: got %v, %v", name, x, got, err)
			}
		}
	}
}

func TestReadIDXRefuses(t *testing.T) {
	good := mustIDX(t, []byte("abcdef"), 2, 3)
	zipped, err := compress(good, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	bent := slices.Clone(zipped)
	bent[len(bent)-6] ^= 1 // in the CRC
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"nothing", nil, "truncated within the magic number"},
		{"a cut magic number", good[:3], "truncated within the magic number"},
		{"another magic number", append([]byte{1}, good[1:]...), "magic number"},
		{"floats", append([]byte{0, 0, 0x0d}, good[3:]...), "data type 0x0d"},
		{"no dimensions", []byte{0, 0, 8, 0}, "0 dimensions"},
		{"five dimensions", []byte{0, 0, 8, 5}, "5 dimensions"},
		{"cut dimensions", good[:10], "truncated within the dimensions"},
		{"one byte too few", good[:len(good)-1], "need 6 bytes of data, there are 5"},
		{"one byte too many", append(slices.Clone(good), 0), "1 trailing bytes"},
		{"dimensions that overflow", []byte{0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255}, "more than"},
		{"a cut gzip", zipped[:len(zipped)-9], "truncated gzip"},
		{"a damaged gzip", bent, "gzip"},
		{"half a gzip header", []byte{0x1f, 0x8b, 8}, "gzip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadIDX(tt.in)
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestIDXBytesRefusesDataThatDoesNotFit(t *testing.T) {
	for _, x := range []IDX{{Dims: []int{2}, Data: []byte{1}}, {Data: []byte{1}}, {Dims: []int{-1, -1}, Data: []byte{1}}, {Dims: []int{1, 1, 1, 1, 1}, Data: []byte{1}}} {
		if _, err := x.Bytes(); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%v: got %v, want ErrInvalid", x, err)
		}
	}
}

func FuzzReadIDX(f *testing.F) {
	good := mustIDX(f, []byte("abcdef"), 2, 3)
	zipped, _ := compress(good, gzip.BestSpeed)
	for _, b := range [][]byte{good, zipped, good[:7], {0, 0, 8, 1, 0, 0, 0, 0}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ReadIDX(b)
		if err != nil {
			if !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("error %v is not ErrInvalid", err)
			}
			return
		}
		out, err := x.Bytes()
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		if plain, _ := gunzip(b); !bytes.Equal(out, plain) {
			t.Fatalf("read %x, wrote %x", plain, out)
		}
	})
}

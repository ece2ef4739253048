package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	dg "driftgate"
)

func TestSafetensorsRoundTrip(t *testing.T) {
	in := []Tensor{
		{"b", []int{2, 3}, []float32{1, -2, 0, math.MaxFloat32, math.SmallestNonzeroFloat32, 6}},
		{"a \"quoted\" é", []int{}, []float32{7}},
		{"empty", []int{0, 4}, []float32{}},
		{"c", []int{1}, []float32{float32(math.Inf(-1))}},
	}
	b, err := EncodeSafetensors(in, map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(b); n%8 != 0 {
		t.Errorf("header of %d bytes: data is not aligned", n)
	}
	out, meta, err := DecodeSafetensors(b)
	if err != nil || meta["format"] != "pt" || !reflect.DeepEqual(in, out) {
		t.Errorf("%v, %v, %v", out, meta, err)
	}
}

// file builds a safetensors file from a header as text.
func file(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestDecodeSafetensorsIsStrict(t *testing.T) {
	const ok = `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`
	if _, _, err := DecodeSafetensors(file(ok+"   ", 8)); err != nil {
		t.Fatalf("the file that the others vary: %v", err)
	}
	for _, tt := range []struct {
		name, want string
		in         []byte
	}{
		{"empty", "eight", nil},
		{"header longer than the file", "header length", file(ok, 8)[:20]},
		{"header over the cap", "header length", binary.LittleEndian.AppendUint64(nil, 1<<40)},
		{"truncated data", "data_offsets", file(ok, 7)},
		{"bytes left over", "after the last tensor", file(ok, 9)},
		{"other type", `dtype "F16"`, file(strings.Replace(ok, "F32", "F16", 1), 8)},
		{"shape and offsets differ", "data_offsets", file(strings.Replace(ok, "[2]", "[3]", 1), 12)},
		{"negative size", "out of range", file(strings.Replace(ok, "[2]", "[-2]", 1), 8)},
		{"size that overflows", "out of range", file(strings.Replace(ok, "[2]", "[4294967296,4294967296]", 1), 8)},
		{"gap", "data_offsets", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8)},
		{"overlap", "data_offsets", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8)},
		{"one name twice", "each name once", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8)},
		{"unknown entry", "unknown field", file(strings.Replace(ok, `"dtype"`, `"x":1,"dtype"`, 1), 8)},
		{"three offsets is text", "data_offsets", file(strings.Replace(ok, "[0,8]", `"0-8"`, 1), 8)},
		{"not an object", "want {", file(`[1,2]`, 0)},
		{"cut-off header", "header", file(`{"a":`, 0)},
		{"text after the header", "after the header", file(ok+"x", 8)},
		{"metadata that is not text", "__metadata__", file(`{"__metadata__":{"a":1}}`, 0)},
	} {
		if _, _, err := DecodeSafetensors(tt.in); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want ErrInvalid with %q", tt.name, err, tt.want)
		}
	}
}

func TestEncodeSafetensorsRefusesAmbiguity(t *testing.T) {
	for name, in := range map[string][]Tensor{
		"twice":         {{"a", []int{1}, []float32{1}}, {"a", []int{1}, []float32{1}}},
		"empty name":    {{"", []int{1}, []float32{1}}},
		"reserved name": {{"__metadata__", []int{1}, []float32{1}}},
		"wrong shape":   {{"a", []int{2}, []float32{1}}},
	} {
		if _, err := EncodeSafetensors(in, nil); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}

func FuzzDecodeSafetensors(f *testing.F) {
	good, _ := EncodeSafetensors([]Tensor{{"w", []int{2, 2}, []float32{1, 2, 3, 4}}, {"b", []int{2}, []float32{5, 6}}}, map[string]string{"k": "v"})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8))
	f.Add(file(`{"__metadata__":{}}`, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, meta, err := DecodeSafetensors(b)
		if err != nil {
			if !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("error %v is not ErrInvalid", err)
			}
			return
		}
		// What was accepted holds every byte of the data, and survives.
		again, err := EncodeSafetensors(tensors, meta)
		if err != nil {
			t.Fatalf("accepted, then not encodable: %v", err)
		}
		n, m := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(again)
		if !bytes.Equal(b[8+n:], again[8+m:]) {
			t.Fatal("data changed on the way")
		}
	})
}

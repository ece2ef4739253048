package network

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	dg "driftgate"
)

// Limits of a safetensors file. The format itself allows headers of 100 MB; no
// network here needs more than a few kilobytes.
const (
	maxHeader  = 1 << 20
	maxTensors = 4096
	maxDims    = 8
)

// metadataKey is the one header entry that is not a tensor.
const metadataKey = "__metadata__"

type tensorHeader struct {
	Dtype   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// EncodeSafetensors writes tensors in the safetensors format: eight bytes of
// header length, a JSON header padded to a multiple of eight, and the float32s,
// little-endian, in the order given. Equal input gives equal bytes.
// The error is [dg.ErrInvalid]: a name that is empty, taken or reserved, or a
// shape that does not match its data.
func EncodeSafetensors(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var header bytes.Buffer
	header.WriteByte('{')
	entry := func(name string, v any) error {
		k, err := json.Marshal(name)
		if err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if header.Len() > 1 {
			header.WriteByte(',')
		}
		header.Write(k)
		header.WriteByte(':')
		header.Write(b)
		return nil
	}
	if len(metadata) > 0 {
		if err := entry(metadataKey, metadata); err != nil { // map keys come out sorted
			return nil, fmt.Errorf("network: encode metadata: %w", err)
		}
	}
	seen := map[string]bool{metadataKey: true, "": true}
	var offset int64
	for _, t := range tensors {
		if seen[t.Name] || (Shape{Dims: t.Shape}).Size() != len(t.Data) {
			return nil, fmt.Errorf("network: encode tensor %q %v with %d values: want a free name and a shape that matches: %w", t.Name, t.Shape, len(t.Data), dg.ErrInvalid)
		}
		seen[t.Name] = true
		end := offset + 4*int64(len(t.Data))
		if err := entry(t.Name, tensorHeader{"F32", append([]int{}, t.Shape...), [2]int64{offset, end}}); err != nil {
			return nil, fmt.Errorf("network: encode tensor %q: %w", t.Name, err)
		}
		offset = end
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	if header.Len() > maxHeader || len(tensors) > maxTensors {
		return nil, fmt.Errorf("network: encode: header of %d bytes for %d tensors, want at most %d and %d: %w", header.Len(), len(tensors), maxHeader, maxTensors, dg.ErrInvalid)
	}
	out := make([]byte, 0, 8+header.Len()+int(offset))
	out = binary.LittleEndian.AppendUint64(out, uint64(header.Len()))
	out = append(out, header.Bytes()...)
	for _, t := range tensors {
		for _, v := range t.Data {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	return out, nil
}

// DecodeSafetensors reads what [EncodeSafetensors] writes, and any other
// safetensors file of float32s that is strictly well formed: names unique,
// offsets without gap or overlap, not a byte left over. Tensors come back in
// the order of their data. Every fault is [dg.ErrInvalid] with its place.
func DecodeSafetensors(b []byte) ([]Tensor, map[string]string, error) {
	fail := func(format string, a ...any) ([]Tensor, map[string]string, error) {
		return nil, nil, fmt.Errorf("network: safetensors: %s: %w", fmt.Sprintf(format, a...), dg.ErrInvalid)
	}
	if len(b) < 8 {
		return fail("%d bytes, want at least the eight of the header length", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n < 2 || n > maxHeader || n > uint64(len(b)-8) {
		return fail("header length %d, want 2 to %d and within the file's %d bytes", n, maxHeader, len(b))
	}
	header, data := b[8:8+n], b[8+n:]
	if header[0] != '{' {
		return fail("header begins with %q, want {", header[0])
	}
	names, entries, metadata, err := decodeHeader(header)
	if err != nil {
		return fail("header: %v", err)
	}
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(entries[i].Offsets[0], entries[j].Offsets[0]), cmp.Compare(entries[i].Offsets[1], entries[j].Offsets[1]))
	})
	var at int64
	out := make([]Tensor, 0, len(names))
	for _, i := range order {
		e := entries[i]
		size, err := e.bytes()
		if err != nil {
			return fail("tensor %q: %v", names[i], err)
		}
		if e.Offsets[0] != at || e.Offsets[1] != at+size || e.Offsets[1] > int64(len(data)) {
			return fail("tensor %q: data_offsets %v for %d bytes, want [%d, %d] within %d bytes of data", names[i], e.Offsets, size, at, at+size, len(data))
		}
		values := make([]float32, size/4)
		for k := range values {
			values[k] = math.Float32frombits(binary.LittleEndian.Uint32(data[at+4*int64(k):]))
		}
		out = append(out, Tensor{names[i], e.Shape, values})
		at += size
	}
	if at != int64(len(data)) {
		return fail("%d bytes after the last tensor, want none", int64(len(data))-at)
	}
	return out, metadata, nil
}

// bytes is the size of the tensor's data, checked against overflow.
func (e tensorHeader) bytes() (int64, error) {
	if e.Dtype != "F32" {
		return 0, fmt.Errorf("dtype %q, want F32", e.Dtype)
	}
	if len(e.Shape) > maxDims {
		return 0, fmt.Errorf("%d dimensions, want at most %d", len(e.Shape), maxDims)
	}
	size := int64(4)
	for _, d := range e.Shape {
		if d < 0 || (d > 0 && size > math.MaxInt32*4/int64(d)) {
			return 0, fmt.Errorf("shape %v is out of range", e.Shape)
		}
		size *= int64(d)
	}
	return size, nil
}

// decodeHeader reads the JSON object key by key, because the standard decoder
// keeps the last of two equal keys in silence.
func decodeHeader(header []byte) (names []string, entries []tensorHeader, metadata map[string]string, err error) {
	d := json.NewDecoder(bytes.NewReader(header))
	d.DisallowUnknownFields()
	if _, err := d.Token(); err != nil {
		return nil, nil, nil, err
	}
	seen := map[string]bool{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return nil, nil, nil, err
		}
		name, _ := tok.(string)
		if seen[name] || name == "" {
			return nil, nil, nil, fmt.Errorf("name %q: want each name once, and none empty", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := d.Decode(&metadata); err != nil {
				return nil, nil, nil, fmt.Errorf("%s: %w", metadataKey, err)
			}
			continue
		}
		var e tensorHeader
		if err := d.Decode(&e); err != nil {
			return nil, nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if names, entries = append(names, name), append(entries, e); len(names) > maxTensors {
			return nil, nil, nil, fmt.Errorf("more than %d tensors", maxTensors)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, nil, err
	}
	rest, err := io.ReadAll(d.Buffered())
	if err != nil {
		return nil, nil, nil, err
	}
	if len(bytes.Trim(rest, " ")) > 0 {
		return nil, nil, nil, fmt.Errorf("%q after the header's end, want spaces only", rest[:min(20, len(rest))])
	}
	return names, entries, metadata, nil
}

package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	dg "driftgate"
)

// maxIDX bounds an uncompressed IDX file: 1 GiB, over twenty times Fashion-MNIST.
const maxIDX = 1 << 30

// IDX is the content of an IDX file of unsigned bytes: the format of MNIST and
// its kin. Big-endian: two zero bytes, the type 0x08, the number of
// dimensions, one uint32 a dimension, then the data, last index fastest.
type IDX struct {
	Dims []int // 1 to 4
	Data []byte
}

// ReadIDX decodes an IDX file, gzipped or plain. It is strict: a wrong magic
// number or type, a size that does not fit the dimensions, missing and
// trailing bytes are [dg.ErrInvalid].
func ReadIDX(b []byte) (IDX, error) {
	plain, err := gunzip(b)
	if err != nil {
		return IDX{}, fmt.Errorf("dataset: read idx: %w: %w", err, dg.ErrInvalid)
	}
	x, err := parseIDX(plain)
	if err != nil {
		return IDX{}, fmt.Errorf("dataset: read idx: %w: %w", err, dg.ErrInvalid)
	}
	return x, nil
}

// gunzip returns the content of a gzip file, checked by its CRC and bounded by
// maxIDX; what is not gzipped comes back as it is.
func gunzip(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		return b, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	out := bytes.NewBuffer(make([]byte, 0, unzipped(b)+bytes.MinRead))
	switch _, err := out.ReadFrom(io.LimitReader(z, maxIDX+1)); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("truncated gzip: the file ends too early")
	case err != nil:
		return nil, fmt.Errorf("gzip: %w", err)
	case out.Len() > maxIDX:
		return nil, fmt.Errorf("gzip: more than %d bytes when unpacked", maxIDX)
	}
	return out.Bytes(), nil
}

// unzipped is how many bytes a gzip file says it holds (RFC 1952, ISIZE), so
// that they need not be copied as they grow; no more than could be in so few.
func unzipped(b []byte) int {
	const most = 1032 // bytes from one, by deflate
	if len(b) < 4 {
		return 0
	}
	return int(min(uint64(binary.LittleEndian.Uint32(b[len(b)-4:])), uint64(len(b))*most, maxIDX))
}

func parseIDX(b []byte) (IDX, error) {
	if len(b) < 4 {
		return IDX{}, fmt.Errorf("%d bytes: truncated within the magic number", len(b))
	}
	if b[0] != 0 || b[1] != 0 {
		return IDX{}, fmt.Errorf("magic number %x: want 0000 08 and the number of dimensions", b[:4])
	}
	if b[2] != 0x08 {
		return IDX{}, fmt.Errorf("data type 0x%02x: want 0x08, unsigned bytes", b[2])
	}
	n := int(b[3])
	if n < 1 || n > 4 {
		return IDX{}, fmt.Errorf("%d dimensions: want 1 to 4", n)
	}
	if len(b) < 4+4*n {
		return IDX{}, fmt.Errorf("%d bytes: truncated within the dimensions", len(b))
	}
	x := IDX{Dims: make([]int, n), Data: b[4+4*n:]}
	size := uint64(1)
	for i := range x.Dims {
		d := binary.BigEndian.Uint32(b[4+4*i:])
		x.Dims[i] = int(d)
		if size *= uint64(d); size > maxIDX {
			return IDX{}, fmt.Errorf("dimensions %v: more than %d bytes", x.Dims[:i+1], maxIDX)
		}
	}
	switch have := uint64(len(x.Data)); {
	case have < size:
		return IDX{}, fmt.Errorf("truncated: dimensions %v need %d bytes of data, there are %d", x.Dims, size, have)
	case have > size:
		return IDX{}, fmt.Errorf("%d trailing bytes: dimensions %v need %d bytes of data, there are %d", have-size, x.Dims, size, have)
	}
	return x, nil
}

// Bytes encodes x as an IDX file, not compressed; the error is [dg.ErrInvalid]
// when Data does not fit Dims.
func (x IDX) Bytes() ([]byte, error) {
	size := 1
	for _, d := range x.Dims {
		if d < 0 || d > math.MaxUint32 {
			return nil, fmt.Errorf("dataset: write idx: dimension %d: %w", d, dg.ErrInvalid)
		}
		if size *= d; size > maxIDX {
			return nil, fmt.Errorf("dataset: write idx: dimensions %v: more than %d bytes: %w", x.Dims, maxIDX, dg.ErrInvalid)
		}
	}
	if n := len(x.Dims); n < 1 || n > 4 || size != len(x.Data) {
		return nil, fmt.Errorf("dataset: write idx: dimensions %v with %d bytes: %w", x.Dims, len(x.Data), dg.ErrInvalid)
	}
	out := append(make([]byte, 0, 4+4*len(x.Dims)+size), 0, 0, 0x08, byte(len(x.Dims)))
	for _, d := range x.Dims {
		out = binary.BigEndian.AppendUint32(out, uint32(d))
	}
	return append(out, x.Data...), nil
}

// compress is gzip without a time stamp: the same bytes for the same content.
func compress(b []byte, level int) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

package serving

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// record is one acknowledged prediction on its way to the store: the image and
// its tags in one file, so that neither can be kept without the other.
//
// The file is the magic line, the length of the header (uint32, big endian),
// the header as JSON, the image, and the CRC-32C of all before it (uint32, big
// endian).
type record struct {
	Key         string            `json:"key"`
	ContentType string            `json:"content_type"`
	Tags        map[string]string `json:"tags"`
	Trace       string            `json:"trace,omitempty"` // W3C traceparent of the prediction, which its upload belongs to
	BodySize    int               `json:"body_size"`       // bytes; set by encode
	Body        []byte            `json:"-"`
}

const (
	recordMagic = "driftgate capture 1\n"
	maxHeader   = 64 << 10 // bytes; ten tags of 256 characters are far below
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn is a record whose writing was cut off, or that was damaged since.
var errTorn = errors.New("torn record")

func (r record) encode() ([]byte, error) {
	r.BodySize = len(r.Body)
	header, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("serving: encode record %s: %w", r.Key, err)
	}
	if len(header) > maxHeader {
		return nil, fmt.Errorf("serving: encode record %s: header of %d bytes, want at most %d", r.Key, len(header), maxHeader)
	}
	b := make([]byte, 0, len(recordMagic)+4+len(header)+len(r.Body)+4)
	b = append(b, recordMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	b = append(b, header...)
	b = append(b, r.Body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// decodeRecord reads what encode wrote; anything else is errTorn. Body aliases b.
func decodeRecord(b []byte) (record, error) {
	var r record
	const fixed = len(recordMagic) + 4
	if len(b) < fixed+4 || string(b[:len(recordMagic)]) != recordMagic {
		return r, fmt.Errorf("no record begins here: %w", errTorn)
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return r, fmt.Errorf("checksum differs: %w", errTorn)
	}
	n := binary.BigEndian.Uint32(b[len(recordMagic):])
	if n > maxHeader || fixed+int(n) > end {
		return r, fmt.Errorf("header of %d bytes: %w", n, errTorn)
	}
	if err := json.Unmarshal(b[fixed:fixed+int(n)], &r); err != nil {
		return r, fmt.Errorf("header: %w: %w", err, errTorn)
	}
	r.Body = b[fixed+int(n) : end : end]
	if len(r.Body) != r.BodySize || r.Key == "" {
		return r, fmt.Errorf("image of %d bytes, header says %d: %w", len(r.Body), r.BodySize, errTorn)
	}
	return r, nil
}

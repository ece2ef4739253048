// Package onnx is the part of the ONNX format that driftgate writes and reads
// back: its protocol buffers, generated from onnx.proto, and their encoding.
// What a network's graph looks like is internal/network's business.
package onnx

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	dg "driftgate"
)

//go:generate protoc --go_out=. --go_opt=paths=source_relative onnx.proto

// Versions of what is written: old enough for every runtime since 2020, and
// the first in which Softmax works along one axis.
const (
	IRVersion = 7
	Opset     = 13
)

// Encode writes a model in ONNX's binary format. The same model gives the same
// bytes.
func Encode(m *ModelProto) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("onnx: encode: %w: %w", dg.ErrInvalid, err)
	}
	return b, nil
}

// Decode reads what [Encode] wrote, and of any other ONNX model the parts that
// onnx.proto names. The error is [dg.ErrInvalid].
func Decode(b []byte) (*ModelProto, error) {
	m := &ModelProto{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("onnx: decode: %w: %w", dg.ErrInvalid, err)
	}
	return m, nil
}

package ledger

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	dg "driftgate"
)

// What a row of tallies holds: one byte for the form, then each cell as its
// stratum, curate interval, slice and sums. Numbers are varints and a stratum
// or slice like that of the cell before takes one byte, so that a cell takes
// some forty, and a week is read in milliseconds.
const packedForm = 1

// packCells packs sums, by slice, stratum and interval.
func packCells(s sums) []byte {
	b := []byte{packedForm}
	var before cell
	text := func(now, before string) {
		if now == before {
			b = append(b, 0)
			return
		}
		b = binary.AppendUvarint(b, uint64(len(now))+1)
		b = append(b, now...)
	}
	for _, value := range slices.Sorted(maps.Keys(s)) {
		for _, c := range s.of(value) {
			text(c.value, before.value)
			text(c.reason, before.reason)
			b = binary.AppendVarint(b, c.interval)
			for _, n := range c.numbers {
				b = binary.AppendVarint(b, n)
			}
			before = *c
		}
	}
	return b
}

// unpackCells calls f with each cell that packCells has packed; texts holds the
// texts met so far, so that each is made once. The error is
// [driftgate.ErrInvalid].
func unpackCells(b []byte, texts map[string]string, f func(cell)) error {
	if len(b) == 0 || b[0] != packedForm {
		return fmt.Errorf("packed sums of %d bytes: want form %d: %w", len(b), packedForm, dg.ErrInvalid)
	}
	b = b[1:]
	short := false
	number := func() int64 {
		x, n := binary.Varint(b)
		if n <= 0 {
			short, b = true, nil
			return 0
		}
		b = b[n:]
		return x
	}
	text := func(before string) string {
		n, size := binary.Uvarint(b)
		if size <= 0 || (n > 0 && n-1 > uint64(len(b)-size)) {
			short, b = true, nil
			return ""
		}
		b = b[size:]
		if n == 0 {
			return before
		}
		t, ok := texts[string(b[:n-1])]
		if !ok {
			t = string(b[:n-1])
			texts[t] = t
		}
		b = b[n-1:]
		return t
	}
	var before cell
	for len(b) > 0 {
		var c cell
		c.value, c.reason, c.interval = text(before.value), text(before.reason), number()
		for i := range c.numbers {
			c.numbers[i] = number()
		}
		if short {
			return fmt.Errorf("packed sums end within a cell: %w", dg.ErrInvalid)
		}
		f(c)
		before = c
	}
	return nil
}

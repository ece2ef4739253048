package ledger

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	dg "driftgate"
)

func unpacked(b []byte) (sums, error) {
	out := sums{}
	err := unpackCells(b, map[string]string{}, out.add)
	return out, err
}

func TestPackedSumsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 200 {
		want := sums{}
		for range rng.IntN(30) {
			c := cell{reason: string(dg.Strata[rng.IntN(4)]), value: []string{"", "Bag", "0995", "a\x00\xff"}[rng.IntN(4)]}
			c.interval = []int64{0, math.MinInt64, math.MaxInt64, rng.Int64()}[rng.IntN(4)]
			for i := range c.numbers {
				c.numbers[i] = rng.Int64() >> rng.IntN(64) * (1 - 2*rng.Int64N(2))
			}
			if want[c.value] == nil {
				want[c.value] = map[stratumKey]*cell{}
			}
			want[c.value][stratumKey{c.reason, c.interval}] = &c
		}
		b := packCells(want)
		got, err := unpacked(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v, got %v, want %v", err, got, want)
		}
		whole := 0
		for _, part := range want {
			whole += len(part)
		}
		for cut := range b {
			some := 0
			err := unpackCells(b[:cut], map[string]string{}, func(cell) { some++ })
			if err != nil && !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if err == nil && some >= whole {
				t.Fatalf("cut at %d of %d: all %d cells are there", cut, len(b), some)
			}
		}
	}
}

func FuzzUnpackCells(f *testing.F) {
	c := cell{reason: "random", value: "Bag", interval: 7}
	c.numbers[nDissent] = -3
	f.Add(packCells(sums{"Bag": {stratumKey{"random", 7}: &c}}))
	f.Add([]byte{packedForm})
	f.Add([]byte{packedForm, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := unpacked(b)
		if err != nil {
			return
		}
		again, err := unpacked(packCells(got))
		if err != nil || !maps.EqualFunc(got, again, func(a, b map[stratumKey]*cell) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("%v: %v came back as %v", err, got, again)
		}
	})
}

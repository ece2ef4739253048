package dataset

import (
	"math/rand/v2"
	"testing"
)

// What a training pays for an image before it is normalised, and for that.
func BenchmarkAugment(b *testing.B) {
	for _, size := range []struct {
		name           string
		h, w, channels int
	}{{"28x28x1", 28, 28, 1}, {"64x64x3", 64, 64, 3}} {
		src := ramp(size.h, size.w, size.channels)
		dst := make([]byte, len(src))
		for name, a := range map[string]Augmentation{
			"shift and flip": {Share: 1, Shift: 2, Flip: true},
			"rotation":       {Share: 1, Shift: 2, Flip: true, Rotation: 10},
			"brightness":     {Share: 1, Brightness: 0.2},
			"noise":          {Share: 1, Noise: 0.05},
			"cutout":         {Share: 1, Cutout: 8},
		} {
			b.Run(size.name+"/"+name, func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				for b.Loop() {
					a.Apply(dst, src, size.h, size.w, size.channels, rng)
				}
			})
		}
		b.Run(size.name+"/normalise", func(b *testing.B) {
			p := Set{Height: size.h, Width: size.w, Channels: size.channels}.Preprocessing()
			x := make([]float32, len(src))
			for b.Loop() {
				p.Pixels(src, x)
			}
		})
	}
}

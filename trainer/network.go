package trainer

import (
	"cmp"
	"slices"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// Network says what is trained: a family of networks, and its size. The
// settings of other families are not looked at.
type Network struct {
	Model string `json:"model,omitempty"` // network.FamilyMLP (also when empty), FamilyCNN or FamilyMobileNet

	Hidden []int `json:"hidden"` // mlp: widths of the hidden layers; empty is a linear model

	Filters   []int   `json:"filters,omitempty"`    // cnn: of each block, which halves the sides of the image; empty is 32, 64
	Convs     int     `json:"convs,omitempty"`      // cnn: convolutions a block; 0 is 1
	Dense     []int   `json:"dense,omitzero"`       // cnn: widths of the hidden layers after the blocks; nil is 128, empty is none
	BatchNorm bool    `json:"batch_norm,omitempty"` // cnn: after each convolution
	Dropout   float64 `json:"dropout,omitempty"`    // cnn: share of the inputs of each dense layer that a step leaves out, 0 to below 1

	Width float64 `json:"width,omitempty"` // mobilenet: of its layers, as a share of the published; 0 is 1
}

// Limits on a network that is asked for; how large it is in all is looked at
// when the images are known.
const (
	maxHidden = 8 // layers
	maxBlocks = 8
	maxConvs  = 8
)

func (n Network) check(f *faults) {
	f.oneOf("model", n.Model, "", network.FamilyMLP, network.FamilyCNN, network.FamilyMobileNet)
	widths := func(name string, of []int, most int) {
		f.want(len(of) <= most, "%s: %d layers, want at most %d", name, len(of), most)
		for i, w := range of {
			f.want(w >= 1 && w <= maxWidth, "%s[%d] %d: want 1 to %d", name, i, w, maxWidth)
		}
	}
	widths("hidden", n.Hidden, maxHidden)
	widths("filters", n.Filters, maxBlocks)
	widths("dense", n.Dense, maxHidden)
	f.want(n.Convs >= 0 && n.Convs <= maxConvs, "convs %d: want 0 (the default) to %d", n.Convs, maxConvs)
	f.want(n.Dropout >= 0 && n.Dropout < 1, "dropout %g: want 0 to below 1", n.Dropout)
	f.want(n.Width >= 0 && n.Width <= 4, "width %g: want over 0 to 4, or 0 for 1", n.Width)
}

// spec is the network for the images and classes of a set.
func (n Network) spec(set dataset.Set) network.Spec {
	in, classes := network.Size{Height: set.Height, Width: set.Width, Channels: set.Channels}, len(set.Classes)
	switch n.Model {
	case network.FamilyCNN:
		return network.CNN(in, network.CNNOptions{Filters: slices.Clone(n.Filters), Convs: n.Convs, Dense: n.Dense, BatchNorm: n.BatchNorm, Dropout: n.Dropout}, classes)
	case network.FamilyMobileNet:
		return network.MobileNet(in, cmp.Or(n.Width, 1), classes)
	}
	return network.MLP(in, n.Hidden, classes)
}

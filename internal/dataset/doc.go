// Package dataset brings labelled images into driftgate and keeps what it
// brought: Fashion-MNIST (IDX files), image folders, and a synthetic garment
// set drawn by its own code. Every image ends as uint8 pixels, height x width x
// channels, row-major, of one size a set.
//
// Nothing broken gets in: files are checked for size and pixel count before
// they are decoded, published files against their published MD5, stored sets
// against their fingerprint, and an error names the file and the record.
//
// [Preprocessing] is the one road from pixels to numbers. It travels in a
// model's manifest, so training and serving cannot differ.
package dataset

// Package kernel does the arithmetic of neural networks on float32 slices:
// products of matrices, convolutions, pooling, batch norm, the loss and the
// optimisers. It knows nothing of graphs, layers or files.
//
// Each kernel exists three times: for AVX-512, for AVX2 with FMA (both
// generated, see gen), and in portable Go. Which one runs is settled once, when
// the program starts, by what the processor can do; the environment variable
// DRIFTGATE_KERNEL (avx512, avx2 or portable) asks for a lesser one. The paths
// differ in rounding only.
//
// Images are in HWC order (height, width, channels), batches of them in NHWC.
// Matrices are row-major. Kernels write to the slices they are given and to
// nothing else, allocate next to nothing once warm, and sum in an order that
// depends on the shape alone, so that equal input gives equal bits. Slices that
// are too short panic, as indexing does: shapes are checked where they enter,
// not here.
package kernel

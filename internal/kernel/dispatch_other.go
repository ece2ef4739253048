//go:build !amd64

package kernel

func best() Path { return Portable }

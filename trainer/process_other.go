//go:build !unix

package trainer

import "os/exec"

// ownGroup does nothing here: cancelling kills the child at once.
func ownGroup(*exec.Cmd) {}

// lowerPriority does nothing here.
func lowerPriority() {}

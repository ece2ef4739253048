//go:build unix

package trainer

import (
	"log/slog"
	"os"
	"os/exec"
	"syscall"
)

// niceness of a training process: serving goes first.
const niceness = 10

// ownGroup gives the child a process group, so that Ctrl-C in a terminal
// reaches the parent alone, which then stops the child in order.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
}

// lowerPriority makes this process nice. On Linux niceness belongs to each
// thread, and only a whole process group can be asked at once, so it takes the
// group when the group is this process's own.
func lowerPriority() {
	which := syscall.PRIO_PROCESS
	if syscall.Getpgrp() == os.Getpid() {
		which = syscall.PRIO_PGRP
	}
	if err := syscall.Setpriority(which, 0, niceness); err != nil {
		slog.Warn("priority stays as it is", "component", "trainer", "error", err)
	}
}

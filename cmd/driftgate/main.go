// Driftgate closes the loop of a deployed image classifier: it serves
// predictions, has some labelled, measures the production accuracy, and on
// drift retrains, judges and promotes. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"driftgate"
)

// Exit codes, the same for every command.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // wrong usage or configuration
	exitRefused = 3 // gate rejected, busy, inconclusive
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newRoot()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if errors.As(err, new(toldError)) {
		return exitCode(err)
	}
	fmt.Fprintln(stderr, "driftgate:", err)
	if hint := hint(err); hint != "" {
		fmt.Fprintln(stderr, "hint:", hint)
	}
	return exitCode(err)
}

// usageError is a mistake in the command line itself.
type usageError struct{ error }

func exitCode(err error) int {
	switch {
	case errors.As(err, new(usageError)), errors.Is(err, driftgate.ErrInvalid):
		return exitUsage
	case errors.Is(err, driftgate.ErrRefused), errors.Is(err, driftgate.ErrBusy):
		return exitRefused
	}
	return exitFailed
}

func hint(err error) string {
	switch {
	case errors.As(err, new(usageError)):
		return "driftgate --help, or --help after a command"
	case errors.Is(err, driftgate.ErrUnauthorized):
		return "the token is in DIR/token of the gateway's folder"
	case errors.Is(err, driftgate.ErrBusy):
		return "driftgate runs list shows what is under way"
	}
	return ""
}

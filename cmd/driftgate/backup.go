package main

import (
	"fmt"
	"io"

	"driftgate/internal/app"

	"github.com/spf13/cobra"
)

func newLedgerBackup(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "copy the SQLite ledger, as it is at one moment, to a new file",
		Long: `Copies the SQLite ledger to a new file while the gateway goes on writing. FILE
must not be there yet; it holds one moment of the ledger, and is put in place
as DIR/ledger.db to restore it. Back up the ledger before the buckets: what is
younger in the buckets is taken up by itself (docs/backup.md).

A ledger in PostgreSQL is backed up by pg_dump.`,
		Example: "  driftgate ledger backup /backup/ledger-2026-11-22.db",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, _, err := g.load(nil)
			if err != nil {
				return err
			}
			size, err := app.BackupLedger(cmd.Context(), conf, args[0])
			if err != nil {
				return err
			}
			return g.show(cmd, map[string]any{"file": args[0], "bytes": size}, func(w io.Writer) {
				fmt.Fprintf(w, "%s, %d bytes\n", args[0], size)
			})
		},
	}
}

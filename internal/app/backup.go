package app

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"driftgate/internal/config"
	"driftgate/internal/ledger"
)

// BackupLedger copies the ledger of c to a new file and returns its size in
// bytes. It needs no lock on the folder: it reads one moment of the ledger
// beside whoever writes.
func BackupLedger(ctx context.Context, c config.Config, file string) (int64, error) {
	if err := ledger.Backup(ctx, cmp.Or(c.Ledger.DSN, filepath.Join(c.Dir, "ledger.db")), file); err != nil {
		return 0, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, fmt.Errorf("app: back up the ledger: %w", err)
	}
	return info.Size(), nil
}

package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
)

// explaining is a connector whose connections tell the plan of each query
// before they run it.
type explaining struct {
	db   *sql.DB
	tell func(plan string)
}

func (e explaining) Connect(ctx context.Context) (driver.Conn, error) {
	return &explainingConn{e: e}, nil
}
func (e explaining) Driver() driver.Driver { return nil }

type explainingConn struct{ e explaining }

func (c *explainingConn) Prepare(query string) (driver.Stmt, error) {
	return nil, fmt.Errorf("prepare %s: want QueryContext", query)
}
func (c *explainingConn) Close() error              { return nil }
func (c *explainingConn) Begin() (driver.Tx, error) { return noTx{}, nil }
func (c *explainingConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	return noTx{}, nil
}

// QueryContext explains, then answers with no rows: the plan is what counts.
func (c *explainingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	var plain []any
	for _, a := range args {
		plain = append(plain, a.Value)
	}
	rows, err := c.e.db.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, plain...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return nil, err
		}
		c.e.tell(detail)
	}
	return noRows{}, rows.Err()
}

type noTx struct{}

func (noTx) Commit() error   { return nil }
func (noTx) Rollback() error { return nil }

type noRows struct{}

func (noRows) Columns() []string         { return nil }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }

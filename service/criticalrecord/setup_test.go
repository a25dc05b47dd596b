package criticalrecord_test

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/criticalrecord"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// lockOrder watches the transactions of all tests.
var lockOrder = txntest.NewLockOrder(db.QueryInfo)

func TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }

// watched is the configuration with lockOrder.
func watched(cfg txn.Config) txn.Config {
	cfg.Observers = append(cfg.Observers, lockOrder)
	return cfg
}

// archive is a database of the test's own, with two users. Its invariants are checked at the
// test's end.
type archive struct {
	*txntest.Database
	db    *txn.DB       // as the ordinary role
	admin *pgxpool.Pool // to inject faults and to look
}

const (
	ada = 1 // users
	bob = 2
)

func setup(t *testing.T, cfg txn.Config) *archive {
	t.Helper()
	t.Parallel()
	return newArchive(t, testschema.NewDatabase(t), cfg)
}

func newArchive(t *testing.T, database *txntest.Database, cfg txn.Config) *archive {
	t.Helper()
	a := &archive{Database: database, db: txn.New(database.Pool(t, txn.ConfigurePool), watched(cfg)), admin: database.Admin(t)}
	a.exec(t, "insert into users (email, name) values ('ada@example.com', 'Ada'), ('bob@example.com', 'Bob')")
	return a
}

// create makes a record of Ada's.
func (a *archive) create(t *testing.T, key, data string) criticalrecord.Receipt {
	t.Helper()
	receipt, err := criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{Key: key, UserID: ada, Data: []byte(data)})
	require.NoError(t, err)
	require.False(t, receipt.Replayed)
	return receipt
}

// change makes the next version of what a receipt is of.
func (a *archive) change(t *testing.T, r criticalrecord.Receipt, data string) criticalrecord.Receipt {
	t.Helper()
	receipt, err := criticalrecord.Change(t.Context(), a.db, criticalrecord.ChangeRequest{
		RecordID: r.RecordID, Version: r.Version, UserID: bob, Data: []byte(data),
	})
	require.NoError(t, err)
	require.False(t, receipt.Replayed)
	return receipt
}

// exec runs statements as the superuser.
func (a *archive) exec(t *testing.T, sql string) {
	t.Helper()
	exec(t, a.admin, sql)
}

// rows is how many rows the three tables have.
func (a *archive) rows(t *testing.T) (counts [3]int) {
	t.Helper()
	require.NoError(t, a.admin.QueryRow(t.Context(), `
		select (select count(*) from critical_records), (select count(*) from critical_record_copies), (select count(*) from system_log)`).
		Scan(&counts[0], &counts[1], &counts[2]))
	return counts
}

// exec runs a statement of plain pgx, on a pool, a connection or a transaction.
func exec(t *testing.T, on interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, sql string, args ...any) {
	t.Helper()
	_, err := on.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// begin begins a transaction of plain pgx, rolled back at the test's end at the latest.
func begin(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

// async starts call and returns where its error will be.
func async(call func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	return done
}

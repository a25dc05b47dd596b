package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestAutocommit(t *testing.T) {
	f := setup(t, txn.Config{})
	q := sqlcbind.Autocommit(f.db)
	_, err := q.Exec(t.Context(), "insert into notes (body) values ($1)", "a")
	require.NoError(t, err)
	_, err = q.Exec(t.Context(), "insert into notes (body) values ($1)", "a")
	require.Equal(t, "23505", txn.SQLState(err))
	var id int64
	require.NoError(t, q.QueryRow(t.Context(), "insert into notes (body) values ($1) returning id", "b").Scan(&id))
	require.NotZero(t, id)
	require.ErrorIs(t, q.QueryRow(t.Context(), "select id from notes where body = 'none'").Scan(&id), txn.ErrNotFound)
	rows, err := q.Query(t.Context(), "select body from notes order by id")
	require.NoError(t, err)
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, bodies)
	n, err := q.CopyFrom(t.Context(), pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"c"}}))
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	b := &pgx.Batch{}
	b.Queue("select 1")
	results := q.SendBatch(t.Context(), b)
	require.NoError(t, results.QueryRow().Scan(&id))
	require.NoError(t, results.Close())
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
	_, err = sqlcbind.Autocommit(nil).Exec(t.Context(), "select 1")
	require.ErrorIs(t, err, txn.ErrTxDone)
}

// A write whose answer was lost may have been committed; a read lost nothing.
func TestAutocommitLostAnswer(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, after := range map[string]bool{"before": false, "after": true} {
		p := txntest.NewProxy(t, f.AppURL())
		d := openConfig(t, poolConfig(t, p.URL()))
		cut := p.Arm(cutAt("^insert into", after))
		_, err := sqlcbind.Autocommit(d).Exec(t.Context(), "insert into notes (body) values ($1)", name)
		unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, ok, "%v", err)
		require.Error(t, unknown.Err)
		require.False(t, txn.IsRetryable(err))
		require.NoError(t, cut.WaitSession(t.Context()))
	}
	require.Equal(t, []string{"after"}, f.notes(t))
	p := txntest.NewProxy(t, f.AppURL())
	d := openConfig(t, poolConfig(t, p.URL()))
	cut := p.Arm(cutAt("^select body", true))
	err := sqlcbind.AutocommitRead(d).QueryRow(t.Context(), "select body from notes ").Scan(new(string))
	require.True(t, txn.IsRetryable(err), "%v", err)
	require.NoError(t, cut.WaitSession(t.Context()))
}

// What is prepared for statements under settings is forgotten when it is no longer right, as in
// a transaction: one statement fails.
func TestAutocommitForgetsWhatIsNoLongerRight(t *testing.T) {
	f := setup(t, txn.Config{})
	owner, err := pgx.Connect(t.Context(), f.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.Background())
	_, err = owner.Exec(t.Context(), "create view found as select id, version from accounts; grant select on found to public")
	require.NoError(t, err)
	d := txn.New(f.single(t).Pool(), txn.Config{Options: txn.Options{Settings: map[string]string{"app.tenant": "a"}}})
	read := func() error {
		rows, err := sqlcbind.AutocommitRead(d).Query(t.Context(), "select * from found where id = $1", 1)
		if err == nil {
			rows.Close()
			err = rows.Err()
		}
		return err
	}
	require.NoError(t, read())

	_, err = d.Pool().Exec(t.Context(), "deallocate all")
	require.NoError(t, err)
	require.Equal(t, "26000", txn.SQLState(read()))
	require.NoError(t, read())

	_, err = owner.Exec(t.Context(), "create or replace view found as select id, version, balance from accounts")
	require.NoError(t, err)
	require.Equal(t, "0A000", txn.SQLState(read()))
	require.NoError(t, read())
}

// A statement under settings fails, and the network swallows the ROLLBACK that follows. The pool
// soon has room for another connection.
func TestAutocommitRollbackIsSwallowed(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second, Options: txn.Options{Settings: map[string]string{"app.tenant": "a"}}})
	gone := make(chan struct{})
	defer close(gone)
	r.arm("rollback\x00", swallow(false, gone))
	_, err := sqlcbind.Autocommit(d).Exec(t.Context(), "select fail('P0001')")
	require.Equal(t, "P0001", txn.SQLState(err))
	require.Eventually(t, func() bool { return d.Pool().Stat().TotalConns() == 0 }, 10*time.Second, time.Millisecond,
		"what pgx still does about the connection is not waited for")
}

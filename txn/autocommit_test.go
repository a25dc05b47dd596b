package txn_test

import (
	"errors"
	"testing"

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

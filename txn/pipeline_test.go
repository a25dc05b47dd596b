package txn_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// modes are pgx's ways to send a statement. What a transaction does is the same in each.
var modes = []mode{
	{"cache_statement", pgx.QueryExecModeCacheStatement},
	{"cache_describe", pgx.QueryExecModeCacheDescribe},
	{"describe_exec", pgx.QueryExecModeDescribeExec},
	{"exec", pgx.QueryExecModeExec},
	{"simple_protocol", pgx.QueryExecModeSimpleProtocol},
}

type mode struct {
	name string
	mode pgx.QueryExecMode
}

func (m mode) set(cfg *pgxpool.Config) { cfg.ConnConfig.DefaultQueryExecMode = m.mode }

// empty deletes all notes.
func (f *fixture) empty(t *testing.T) {
	t.Helper()
	_, err := f.db.Pool().Exec(t.Context(), "delete from notes")
	require.NoError(t, err)
}

//go:build !windows && cgo

package query_test

import (
	"encoding/json"
	"testing"

	pganalyze "github.com/pganalyze/pg_query_go/v6"
	"github.com/stretchr/testify/require"
	wasilibs "github.com/wasilibs/go-pgquery"
)

// TestParsersAgree shows that the classes are the same with and without a C compiler, since
// the trees are.
func TestParsersAgree(t *testing.T) {
	t.Parallel()
	for _, s := range statements {
		withC, err := pganalyze.ParseToJSON(s.sql)
		require.NoError(t, err, s.name)
		without, err := wasilibs.ParseToJSON(s.sql)
		require.NoError(t, err, s.name)
		require.Equal(t, trees(t, withC), trees(t, without), s.name)
	}
}

func trees(t *testing.T, text string) (trees struct{ Stmts any }) {
	require.NoError(t, json.Unmarshal([]byte(text), &trees))
	return trees
}

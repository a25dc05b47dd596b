package query

import (
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// TestEffectsAreOfVolatileFunctions keeps the list honest: a name in it that the server has
// otherwise, or not at all, is a mistake.
func TestEffectsAreOfVolatileFunctions(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), server.AdminURL("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	catalog, err := LoadCatalog(t.Context(), conn)
	require.NoError(t, err)

	since := map[string]int{
		"array_sample": 16, "array_shuffle": 16, "random_normal": 16, "uuidv4": 18, "uuidv7": 18,
	}
	for _, name := range slices.Sorted(maps.Keys(effects)) {
		functions := catalog.functions[name]
		if server.VersionNum()/10000 < since[name] {
			require.Empty(t, functions, name)
			continue
		}
		require.NotEmpty(t, functions, name)
		for _, f := range functions {
			require.True(t, f.builtin, name)
		}
		require.True(t, slices.ContainsFunc(functions, func(f function) bool { return f.volatile }), name)
	}
}

package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
)

// A connection that somebody does not give back does not keep the process from its end.
func TestCloseWithin(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	d, err := txn.Open(t.Context(), database.AppURL(), txn.Config{})
	require.NoError(t, err)
	conn, err := d.Pool().Acquire(t.Context())
	require.NoError(t, err)
	require.ErrorContains(t, closeWithin(d, time.Millisecond), "connections to the database are in use")
	conn.Release()
	require.NoError(t, closeWithin(d, 30*time.Second))
}

package txntest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// NewProxy starts a proxy in front of the server of dsn and closes it at the test's end. Make
// it before the pool that goes through it: the pool is then closed first.
func NewProxy(t testing.TB, dsn string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

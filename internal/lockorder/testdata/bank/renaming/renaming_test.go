package renaming_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/bank/bank"
	"example.com/bank/renaming"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

var lockOrder = txntest.NewLockOrder(bank.Queries)

func TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }

func TestRename(t *testing.T) {
	database := txntest.NewDatabase(t, bank.Schema)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{lockOrder}})
	require.NoError(t, renaming.Rename(t.Context(), d))
}

package closing_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/bank/bank"
	"example.com/bank/closing"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

var lockOrder = txntest.NewLockOrder(bank.Queries)

func TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }

func TestClose(t *testing.T) {
	database := txntest.NewDatabase(t, bank.Schema)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{lockOrder}})
	require.NoError(t, closing.Close(t.Context(), d))
}

func TestBroken(t *testing.T) { t.Error("as it should") }

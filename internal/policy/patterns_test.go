package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tutorials are the names in the two documents that the reference application comes from.
var tutorials = strings.Fields(`
	transferMoney createUserWithProfile handleConcurrentBooking createCriticalRecord
	createBlogPost publishPost createOrder calculateUserDiscount
	createUserAccount sendWelcomeEmail migrateUserData migrateUserProfile migrateUserPosts migrateUserConnections
	complexBusinessOperation mainBusinessLogic optionalOperation1 optionalOperation2 criticalFinalOperation
	readUncommittedExample readCommittedExample repeatableReadExample serializableExample
	optimisticLockingExample pessimisticLockExample shareLockExample lockWithTimeout advisoryLockExample operation
	createOrderSaga reserveInventory releaseInventory processPayment refundPayment createOrderRecord cancelOrder
	sendOrderConfirmation twoPhaseCommitExample retryTransaction isRetryableError batchProcessUsers processFunction
	safeTransactionWrapper handleConcurrencyConflict executeWithTimeout
	createTransactionMonitor startTransaction endTransaction getActiveTransactions checkForStuckTransactions
	performTransaction updateUserBalance getUserWithShareLock fetchOrdersWithKeyShareLock updateProductPrice
	processUserOrder executeWithRetry
`)

// advice are their recommendations, which have no name: how their rows begin.
var advice = []string{
	"Overview of Transaction Locks", "5.1 ", "5.2 ", "5.3 ", "5.4 ", "5.5 ", "5.6 ",
	"1. ", "2. ", "3. ", "4. ", "5. ", "6. ", "7. ",
}

// later are the parts of which a row may say that they come later.
var later = regexp.MustCompile(`comes? (later|with (the batches|the monitor|the sagas|two-phase commit))`)

// Whoever knows a name from the tutorials finds it in docs/patterns.md, with a test that shows
// what is said there.
func TestPatterns(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "patterns.md"))
	require.NoError(t, err)
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, " | ")
		if strings.HasPrefix(line, "| ") && len(cells) == 4 {
			rows[strings.TrimPrefix(cells[0], "| ")] = line
		}
	}
	find := func(what string, is func(first string) bool) {
		n := 0
		for first, row := range rows {
			if !is(first) {
				continue
			}
			n++
			require.True(t, strings.Contains(row, "[`Test") || later.MatchString(row), "the row of %s names no test", what)
		}
		require.Positive(t, n, "docs/patterns.md has no row for %s", what)
	}
	for _, name := range tutorials {
		find(name, func(first string) bool { return strings.Contains(first, "`"+name+"`") })
	}
	for _, begin := range advice {
		find(begin, func(first string) bool { return strings.HasPrefix(first, begin) })
	}
}

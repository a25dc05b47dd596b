-- name: CountUsers :one
SELECT count(*) AS users, count(*) FILTER (WHERE active) AS active_users, clock_timestamp()::timestamptz AS read_at FROM users;

-- name: SumBalances :one
-- SumBalances counts the customers' accounts and adds up what they hold. It fails with 22003 if
-- that is more than an amount can express.
SELECT count(*) AS accounts, coalesce(sum(balance_minor), 0)::bigint AS balances FROM accounts WHERE kind = 'customer';

-- name: SumCustomerEntries :one
-- SumCustomerEntries adds up the ledger entries of all customers' accounts: what their balances
-- must be.
SELECT coalesce(sum(e.amount_minor), 0)::bigint AS entries
FROM ledger_entries e JOIN accounts a ON a.id = e.account_id WHERE a.kind = 'customer';

-- name: CountTransfers :one
SELECT count(*) AS transfers FROM transfers;

-- name: CountPosts :one
SELECT count(*) AS posts, count(*) FILTER (WHERE status = 'published') AS published_posts FROM posts;

-- name: CountUsersForShare :one
-- CountUsersForShare is CountUsers of rows that stay as they are until the transaction ends.
-- Users may still be added.
-- @allow lock-scan it is all rows that are meant: the report that keeps them says what that costs
WITH locked AS (SELECT active FROM users ORDER BY id FOR SHARE)
SELECT count(*) AS users, count(*) FILTER (WHERE active) AS active_users, clock_timestamp()::timestamptz AS read_at FROM locked;

-- name: SumBalancesForShare :one
-- SumBalancesForShare is SumBalances of rows that stay as they are until the transaction ends.
-- Accounts may still be opened.
WITH locked AS (SELECT balance_minor FROM accounts WHERE kind = 'customer' ORDER BY id FOR SHARE)
SELECT count(*) AS accounts, coalesce(sum(balance_minor), 0)::bigint AS balances FROM locked;

-- name: CountPostsForShare :one
-- CountPostsForShare is CountPosts of rows that stay as they are until the transaction ends.
-- Posts may still be added.
-- @allow lock-scan it is all rows that are meant: the report that keeps them says what that costs
WITH locked AS (SELECT status FROM posts ORDER BY id FOR SHARE)
SELECT count(*) AS posts, count(*) FILTER (WHERE status = 'published') AS published_posts FROM locked;

-- name: LockReportTables :exec
-- LockReportTables waits until nobody is writing to the tables that a report reads, and keeps
-- everybody from writing to them until the transaction ends. Reading goes on, and so do row
-- locks, also FOR UPDATE. The tables are locked one after another, and no order of them is
-- everybody's: set a lock timeout below the server's deadlock_timeout, so that who waits in vain
-- is the report.
LOCK TABLE users, accounts, transfers, ledger_entries, posts IN SHARE MODE;

-- name: ListActiveUsers :many
-- ListActiveUsers returns a page of the active users, above an id that an earlier page ended
-- with.
SELECT * FROM users WHERE active AND id > sqlc.arg(after_id) ORDER BY id LIMIT sqlc.arg(max_rows);

-- name: FindReport :one
SELECT * FROM reports WHERE kind = sqlc.arg(kind) AND request_key = sqlc.arg(request_key);

-- name: LockReport :one
-- LockReport is FindReport of a report that somebody has just stored. The lock is for COMMIT, which
-- waits for disks and standbys only in a transaction that has left something in the server's log:
-- what it then waits for is all that was committed before.
SELECT * FROM reports WHERE kind = sqlc.arg(kind) AND request_key = sqlc.arg(request_key) FOR KEY SHARE;

-- name: StoreReport :one
-- StoreReport stores a report. No row, and nothing was stored: there is one of this kind and
-- key. Above READ COMMITTED one that is newer than the snapshot makes it fail with 40001.
INSERT INTO reports (kind, request_key, way, users, active_users, accounts, balances_minor, entries_minor,
    transfers, posts, published_posts, read_at)
VALUES (sqlc.arg(kind), sqlc.arg(request_key), sqlc.arg(way), sqlc.arg(users), sqlc.arg(active_users), sqlc.arg(accounts),
    sqlc.arg(balances_minor), sqlc.arg(entries_minor), sqlc.arg(transfers), sqlc.arg(posts), sqlc.arg(published_posts),
    sqlc.arg(read_at))
ON CONFLICT (kind, request_key) DO NOTHING
RETURNING *;

-- name: GetAccount :one
-- GetAccount reads an account as it was last committed. To decide on a change by what it
-- says, lock the account instead.
SELECT * FROM accounts WHERE id = sqlc.arg(id);

-- name: ListAccountsOfUser :many
SELECT * FROM accounts WHERE user_id = sqlc.arg(user_id)::bigint ORDER BY id;

-- name: GetSystemAccount :one
-- GetSystemAccount finds the other side of deposits, withdrawals or bonuses. It is not to be
-- locked: everybody's money passes it.
SELECT * FROM accounts WHERE code = sqlc.arg(code)::text;

-- name: CreateAccount :one
-- CreateAccount opens an empty account for a user.
INSERT INTO accounts (user_id) VALUES (sqlc.arg(user_id)::bigint) RETURNING *;

-- name: LockAccount :one
-- LockAccount locks an account in order to change its balance or status. Others may go on
-- reading it, and inserting rows that refer to it.
--
-- The strengths of row locks, weakest first: KEY SHARE keeps the row and its key, SHARE the
-- whole row; NO KEY UPDATE announces a change that leaves the key alone, UPDATE a change of
-- the key or a deletion. To take a weak one first and a stronger one later invites
-- deadlocks: begin with the strongest that will be needed.
SELECT * FROM accounts WHERE id = sqlc.arg(id) FOR NO KEY UPDATE;

-- name: LockAccountNowait :one
-- LockAccountNowait is LockAccount for those who would rather fail than wait: if another
-- transaction holds the account, the error is txn.ErrLockNotAvailable at once.
SELECT * FROM accounts WHERE id = sqlc.arg(id) FOR NO KEY UPDATE NOWAIT;

-- name: LockAccounts :many
-- LockAccounts locks several accounts, in the order of their ids, in order to change
-- balances. Two transfers in opposite directions cannot deadlock then. An account that does
-- not exist is missing from the result.
SELECT * FROM accounts WHERE id = ANY (sqlc.arg(ids)::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: LockAccountsNowait :many
-- LockAccountsNowait is LockAccounts for those who would rather fail than wait.
SELECT * FROM accounts WHERE id = ANY (sqlc.arg(ids)::bigint[]) ORDER BY id FOR NO KEY UPDATE NOWAIT;

-- name: LockNextAccounts :many
-- LockNextAccounts locks up to max_rows open accounts of customers above an id, and passes
-- over those that others hold: for workers that share a task over all accounts. Who must
-- not miss an account comes back for the ones passed over.
SELECT * FROM accounts
WHERE kind = 'customer' AND status = 'open' AND id > sqlc.arg(after_id)
ORDER BY id LIMIT sqlc.arg(max_rows)
FOR NO KEY UPDATE SKIP LOCKED;

-- name: LockAccountForUpdate :one
-- LockAccountForUpdate locks an account in order to delete it. It makes others wait who
-- insert rows that refer to the account, such as ledger entries: for changes of the balance
-- LockAccount is enough.
-- @allow lock-strength it is for deletions, and those are made by hand: no query deletes an account
SELECT * FROM accounts WHERE id = sqlc.arg(id) FOR UPDATE;

-- name: LockAccountForShare :one
-- LockAccountForShare keeps an account as it is until the transaction ends, without changing
-- it: for a decision that must still be true at COMMIT. Many may hold it at a time. Who
-- means to change the account afterwards takes LockAccount at once.
SELECT * FROM accounts WHERE id = sqlc.arg(id) FOR SHARE;

-- name: LockAccountsForShare :many
-- LockAccountsForShare is LockAccountForShare for several accounts.
SELECT * FROM accounts WHERE id = ANY (sqlc.arg(ids)::bigint[]) ORDER BY id FOR SHARE;

-- name: LockAccountForShareNowait :one
-- LockAccountForShareNowait is LockAccountForShare for those who would rather fail than wait.
SELECT * FROM accounts WHERE id = sqlc.arg(id) FOR SHARE NOWAIT;

-- name: LockAccountForKeyShare :one
-- LockAccountForKeyShare keeps an account from being deleted until the transaction ends;
-- balance and status may change meanwhile. The check of a foreign key takes the same lock
-- by itself: this is for references that no foreign key knows of.
SELECT * FROM accounts WHERE id = sqlc.arg(id) FOR KEY SHARE;

-- name: SetAccountStatus :one
-- SetAccountStatus freezes, opens or closes a customer's account, and returns it as it is
-- then. That there is no such account, or it is the system's, is an error.
--
-- @affects one
UPDATE accounts SET status = sqlc.arg(status), version = version + 1
WHERE id = sqlc.arg(id) AND kind = 'customer'
RETURNING *;

-- name: SetAccountStatusAtVersion :one
-- SetAccountStatusAtVersion is SetAccountStatus for a decision made by what an earlier
-- transaction read.
--
-- @optimistic version
UPDATE accounts SET status = sqlc.arg(status), version = version + 1
WHERE id = sqlc.arg(id) AND version = sqlc.arg(version) AND kind = 'customer'
RETURNING *;

-- name: GetAccount :one
-- GetAccount returns an account, or pgx.ErrNoRows.
SELECT id, balance_minor, status FROM accounts WHERE id = $1;

-- name: ListAccounts :many
SELECT id, balance_minor FROM accounts WHERE status = @status AND id = ANY(@ids::bigint[]) ORDER BY id;

-- name: CreateAccount :one
-- CreateAccount opens an account.
--
-- It has a second paragraph, and a `quoted` word.
INSERT INTO accounts (balance_minor) VALUES ($1) RETURNING id;

-- name: LockAccount :one
-- LockAccount locks an account against changes by others.
SELECT id, balance_minor, status FROM accounts WHERE id = $1 FOR NO KEY UPDATE NOWAIT;

-- name: LockAccounts :exec
LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE;

-- name: AddBalance :execrows
UPDATE accounts SET balance_minor = balance_minor + @amount WHERE id = @id;

-- name: QuotedColumn :one
SELECT 'a`b' AS tick;

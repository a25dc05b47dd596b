-- name: CreateAccount :one
INSERT INTO accounts (owner, balance) VALUES ($1, $2) RETURNING *;

-- name: GetAccount :one
SELECT * FROM accounts WHERE id = $1;

-- name: LockAccounts :many
SELECT * FROM accounts WHERE id IN (sqlc.arg(payer), sqlc.arg(payee))
ORDER BY id FOR NO KEY UPDATE;

-- name: AddToBalance :exec
UPDATE accounts SET balance = balance + sqlc.arg(amount) WHERE id = sqlc.arg(id);

-- name: CreateTransfer :one
INSERT INTO transfers (payer, payee, amount) VALUES ($1, $2, $3) RETURNING id;

-- name: ListTransfers :many
SELECT * FROM transfers WHERE payer = sqlc.arg(account) OR payee = sqlc.arg(account)
ORDER BY id;

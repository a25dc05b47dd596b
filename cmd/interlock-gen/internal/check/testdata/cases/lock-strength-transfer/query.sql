-- name: LockAccount :one
SELECT balance_minor FROM accounts WHERE id = $1 FOR UPDATE;

-- name: Debit :execrows
UPDATE accounts SET balance_minor = balance_minor - $2 WHERE id = $1;

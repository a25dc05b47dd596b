-- name: LockTwo :many
SELECT id, balance_minor FROM accounts WHERE id IN ($1, $2) FOR NO KEY UPDATE;

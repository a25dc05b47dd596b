-- name: LockAccountsAndOrders :many
SELECT a.id, o.id AS order_id FROM accounts a JOIN posts o ON o.author_id = a.user_id
WHERE a.id = $1 FOR NO KEY UPDATE;

-- name: LockTotals :many
SELECT user_id, sum(balance_minor) FROM accounts GROUP BY user_id FOR UPDATE;

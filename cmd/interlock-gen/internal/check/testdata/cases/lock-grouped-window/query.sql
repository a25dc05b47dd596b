-- name: LockRanked :many
SELECT id, rank() OVER (ORDER BY balance_minor) FROM accounts FOR SHARE;

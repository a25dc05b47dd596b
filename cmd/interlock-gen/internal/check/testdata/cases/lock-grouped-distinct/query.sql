-- name: LockOwners :many
SELECT DISTINCT user_id FROM accounts WHERE balance_minor > 0 FOR SHARE;

-- name: LockDerived :many
SELECT x.user_id FROM (SELECT DISTINCT user_id FROM accounts) x FOR UPDATE;

-- name: TotalUnderLock :one
WITH locked AS (
    SELECT balance_minor FROM accounts WHERE user_id = $1 ORDER BY id FOR NO KEY UPDATE
)
SELECT count(DISTINCT balance_minor), sum(balance_minor)::bigint FROM locked;

-- name: LockedAbove :many
SELECT DISTINCT x.user_id FROM (SELECT user_id FROM accounts WHERE user_id = $1 ORDER BY id FOR SHARE) x;

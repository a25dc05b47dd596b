-- name: SumUnderLock :one
WITH locked AS (SELECT balance_minor FROM accounts WHERE user_id = $1 FOR NO KEY UPDATE)
SELECT sum(balance_minor)::bigint FROM locked;

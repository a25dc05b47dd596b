-- name: CountUnderLock :one
SELECT count(*), sum(balance_minor)::bigint FROM accounts WHERE user_id = $1 FOR SHARE;

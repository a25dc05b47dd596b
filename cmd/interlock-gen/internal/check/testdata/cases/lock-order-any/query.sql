-- name: LockSome :many
SELECT id FROM accounts WHERE id = ANY ($1::bigint[]) FOR SHARE;

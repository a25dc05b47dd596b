-- name: LockCoded :many
SELECT id FROM users WHERE id = ANY ($1::bigint[]) ORDER BY code FOR NO KEY UPDATE;

-- name: OwnersOfLocked :many
SELECT id FROM users WHERE id IN (SELECT user_id FROM accounts WHERE user_id = ANY ($1::bigint[]) FOR KEY SHARE) ORDER BY id;

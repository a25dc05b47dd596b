-- name: LockPostWithFollowers :many
SELECT p.id, f.follower_id FROM posts p LEFT JOIN followers f ON f.user_id = p.author_id
WHERE p.id = $1 ORDER BY f.user_id, f.follower_id FOR NO KEY UPDATE;

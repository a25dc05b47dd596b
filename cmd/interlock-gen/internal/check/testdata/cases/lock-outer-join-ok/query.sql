-- name: LockPost :many
SELECT p.id, f.follower_id FROM posts p LEFT JOIN followers f ON f.user_id = p.author_id
WHERE p.id = $1 FOR NO KEY UPDATE OF p;

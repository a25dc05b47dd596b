-- name: LockDerived :many
SELECT x.id FROM (SELECT p.id FROM posts p LEFT JOIN orders o ON o.id = p.id) x
WHERE x.id = $1 FOR SHARE;

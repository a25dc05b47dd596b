-- name: LockPairs :many
SELECT a.id, b.id AS other FROM accounts a FULL JOIN users b ON b.id = a.user_id
ORDER BY a.id, b.id FOR SHARE OF a;

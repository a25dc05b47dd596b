-- name: LockAllForOne :many
-- @allow lock-scan a small table
SELECT u.id FROM users u LEFT JOIN accounts a ON u.id = a.user_id AND a.id = $1 FOR NO KEY UPDATE OF u;

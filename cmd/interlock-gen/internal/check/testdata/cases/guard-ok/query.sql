-- name: AddUser :exec
-- @affects one
INSERT INTO users (id, email, name, version) VALUES ($1, $2, $3, 1) ON CONFLICT DO NOTHING;

-- name: CloseOrder :one
-- @affects one
WITH user_of AS (SELECT user_id FROM orders WHERE id = $1)
UPDATE orders SET status = 'closed' WHERE id = $1 AND user_id IN (SELECT user_id FROM user_of) RETURNING *;

-- name: RenameUser :execrows
-- @optimistic version
UPDATE users SET name = $1, version = version + 1
WHERE id = $2 AND version = $3 AND EXISTS (SELECT FROM accounts WHERE user_id = users.id);

-- name: RenameOwner :execrows
-- @optimistic version
UPDATE users AS u SET name = $1, version = u.version + 1
WHERE id = $2 AND $3 = version AND EXISTS (SELECT FROM accounts a WHERE a.user_id = u.id AND a.version > 1);

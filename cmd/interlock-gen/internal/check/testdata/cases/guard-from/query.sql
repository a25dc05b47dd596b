-- name: Credit :exec
-- @optimistic version
UPDATE accounts SET balance_minor = 0, version = accounts.version + 1 FROM users
WHERE accounts.id = $1 AND users.id = user_id AND accounts.version = $2;

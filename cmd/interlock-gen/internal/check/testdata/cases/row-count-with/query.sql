-- name: Debit :exec
WITH entered AS (INSERT INTO orders (id, user_id, status) VALUES ($1, $2, 'new'))
UPDATE users SET version = version + 1 WHERE id = $2;

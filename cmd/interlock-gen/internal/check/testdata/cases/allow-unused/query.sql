-- name: GetUser :one
-- @allow lock-order nobody else locks users
SELECT name FROM users WHERE id = $1;

-- name: Take :exec
SELECT pg_advisory_lock($1);

-- name: Fine :one
SELECT id FROM items WHERE id = $1;

-- name: Give :exec
SELECT pg_advisory_unlock($1);

-- name: Configure :exec
SELECT set_config('app.tenant', $1, false);

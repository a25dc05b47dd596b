-- name: GetThing :one
SELECT id, amount, other FROM things WHERE id = $1;

-- name: FindThings :many
SELECT id FROM things WHERE amount = @amount AND other > $2;

-- name: GetThing :one
SELECT id, amount, other FROM things WHERE id = $1;

-- name: FindByAmount :many
SELECT id FROM things WHERE amount = $1;

-- name: FindOther :one
SELECT other FROM things WHERE id = $1 FOR UPDATE;

-- name: ByMisleadingNames :many
SELECT id FROM things WHERE id = @d AND amount = @txn AND other = @sqlcgen AND 1 = @q::int AND 'x' = @string::text;

-- name: OptionalPart :exec
SAVEPOINT optional_part;

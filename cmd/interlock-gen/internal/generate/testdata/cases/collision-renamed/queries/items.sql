-- name: GetReadQuery :one
SELECT * FROM read_queries;

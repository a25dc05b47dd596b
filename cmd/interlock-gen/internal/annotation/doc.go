// Package annotation reads what the comment above a query asks the generator for:
//
//	-- name: RenameUser :exec
//	-- RenameUser gives a user another name.
//	-- @optimistic version
//	UPDATE users SET name = $1, version = version + 1 WHERE id = $2 AND version = $3;
//
// An annotation is a line of its own that begins with @. A misspelt one would be a promise
// that nobody keeps, so whatever looks like an annotation and is none is an error; so is one
// in a place where sqlc takes it for another query's.
package annotation

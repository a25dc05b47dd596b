-- name: Reset :exec
RESET ALL;

-- name: Listen :exec
LISTEN jobs;

-- name: Done :exec
COMMIT;

-- name: Prepare :exec
PREPARE TRANSACTION 'payment';

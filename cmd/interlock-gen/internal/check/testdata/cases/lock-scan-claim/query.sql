-- name: ClaimOrder :one
SELECT id FROM orders WHERE status = 'new' ORDER BY status LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;

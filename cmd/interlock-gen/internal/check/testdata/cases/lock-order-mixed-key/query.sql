-- name: LockProducts :many
SELECT id FROM products WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: LockProductsBySKU :many
SELECT id FROM products WHERE sku = ANY ($1::text[]) ORDER BY sku FOR NO KEY UPDATE;

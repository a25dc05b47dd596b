-- name: ReserveShared :execrows
WITH locked AS (SELECT id FROM products WHERE id = ANY ($1::bigint[]) ORDER BY id FOR SHARE)
UPDATE products p SET stock = stock - 1 FROM locked WHERE p.id = locked.id;

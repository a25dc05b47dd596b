-- name: ReserveLocked :execrows
WITH locked AS (SELECT id FROM products WHERE id = ANY ($1::bigint[]) FOR NO KEY UPDATE)
UPDATE products p SET stock = stock - 1 FROM locked WHERE p.id = locked.id;

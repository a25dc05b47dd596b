-- name: UpdateOthers :execrows
WITH locked AS (SELECT id, stock FROM products WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE),
     listed AS (SELECT i.product_id AS product, locked.stock FROM order_items i CROSS JOIN locked)
UPDATE products p SET stock = listed.stock FROM listed WHERE p.id = listed.product;

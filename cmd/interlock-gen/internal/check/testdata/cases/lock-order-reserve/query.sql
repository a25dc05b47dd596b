-- name: ReserveStock :execrows
UPDATE products p SET stock = p.stock - r.quantity
FROM unnest($1::bigint[], $2::bigint[]) AS r (product_id, quantity)
WHERE p.id = r.product_id AND p.stock >= r.quantity;

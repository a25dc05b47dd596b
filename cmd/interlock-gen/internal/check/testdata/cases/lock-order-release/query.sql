-- name: ReleaseStock :execrows
UPDATE products p SET stock = p.stock + i.quantity
FROM order_items i WHERE i.order_id = $1 AND p.id = i.product_id;

-- name: AddStock :execrows
INSERT INTO products (id, sku, stock, price_minor)
SELECT id, sku, 1, 1 FROM unnest($1::bigint[], $2::text[]) AS new (id, sku)
ON CONFLICT (sku) DO UPDATE SET stock = products.stock + 1;

-- name: Median :one
SELECT (SELECT price_minor FROM products ORDER BY price_minor LIMIT 1 OFFSET 10) AS tenth;

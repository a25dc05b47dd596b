-- name: CreateProduct :one
-- CreateProduct offers a product that has some stock from the start.
INSERT INTO products (name, price_minor, received, stock)
VALUES (sqlc.arg(name), sqlc.arg(price_minor), sqlc.arg(stock), sqlc.arg(stock))
RETURNING *;

-- name: GetProduct :one
-- GetProduct reads a product as it was last committed. To decide by what it says, lock it.
SELECT * FROM products WHERE id = sqlc.arg(id);

-- name: LockProducts :many
-- LockProducts locks products in the order of their ids, in order to change stock or prices.
-- Others may go on reading them, and inserting rows that refer to them. A product that does not
-- exist is missing from the result.
SELECT * FROM products WHERE id = ANY (sqlc.arg(ids)::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: TakeStock :one
-- TakeStock takes a quantity of each product out of stock. It returns of how many products. The
-- ids differ from one another, and quantities has one for each, in the same order.
--
-- The caller holds the locks of the products (LockProducts), and has looked at their stock under
-- them. Too little stock is products_stock_not_negative; a product that does not exist fails
-- with cardinal_number_domain_check: so it can travel with COMMIT.
-- @allow lock-order the caller holds the locks of the products, and took them in the order of their ids
WITH asked AS (
    SELECT unnest(sqlc.arg(ids)::bigint[]) AS product_id, unnest(sqlc.arg(quantities)::bigint[]) AS quantity
), taken AS (
    UPDATE products SET stock = products.stock - asked.quantity, version = products.version + 1
    FROM asked WHERE products.id = asked.product_id
    RETURNING products.id
)
SELECT count(*) AS products FROM taken
HAVING CASE count(*)
    WHEN cardinality(sqlc.arg(ids)::bigint[]) THEN true
    ELSE (-1)::information_schema.cardinal_number = 0 -- a value that its domain does not allow
END;

-- name: ReturnStock :one
-- ReturnStock puts a quantity of each product back into stock, the reverse of TakeStock, with the
-- same demands on the caller. That something comes back that was not given out is
-- products_stock_was_received.
-- @allow lock-order the caller holds the locks of the products, and took them in the order of their ids
WITH asked AS (
    SELECT unnest(sqlc.arg(ids)::bigint[]) AS product_id, unnest(sqlc.arg(quantities)::bigint[]) AS quantity
), returned AS (
    UPDATE products SET stock = products.stock + asked.quantity, version = products.version + 1
    FROM asked WHERE products.id = asked.product_id
    RETURNING products.id
)
SELECT count(*) AS products FROM returned
HAVING CASE count(*)
    WHEN cardinality(sqlc.arg(ids)::bigint[]) THEN true
    ELSE (-1)::information_schema.cardinal_number = 0 -- a value that its domain does not allow
END;

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

-- name: LockOrderedProductsForKeyShare :many
-- LockOrderedProductsForKeyShare keeps the products in a user's orders from being deleted, in the
-- order of their ids; everything else about them may change meanwhile. Whoever means to change
-- some of them locks those before, by LockProducts.
SELECT * FROM products
WHERE id IN (
    SELECT i.product_id FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.user_id = sqlc.arg(user_id)
)
ORDER BY id FOR KEY SHARE;

-- name: SetProductPrice :one
-- SetProductPrice changes what a product costs from now on. Orders are not touched: their items
-- have prices of their own.
--
-- The caller holds the product's lock, by a statement before this one (LockProducts). One
-- statement that locks the row and then changes it can deadlock: after a wait, its UPDATE begins
-- with the version of the row that there was before, and may have to queue there behind somebody
-- who waits for its lock.
--
-- @affects one
UPDATE products SET price_minor = sqlc.arg(price_minor), version = version + 1
WHERE id = sqlc.arg(id)
RETURNING *;

-- name: SetProductPrices :one
-- SetProductPrices is SetProductPrice for several products. It returns of how many. The ids differ
-- from one another, and prices has one for each, in the same order. The caller holds the locks of
-- the products (LockProducts); one that does not exist fails with cardinal_number_domain_check: so
-- it can travel with COMMIT.
-- @allow lock-order the caller holds the locks of the products, and took them in the order of their ids
WITH asked AS (
    SELECT unnest(sqlc.arg(ids)::bigint[]) AS product_id, unnest(sqlc.arg(prices)::bigint[]) AS price
), changed AS (
    UPDATE products SET price_minor = asked.price, version = products.version + 1
    FROM asked WHERE products.id = asked.product_id
    RETURNING products.id
)
SELECT count(*) AS products FROM changed
HAVING CASE count(*)
    WHEN cardinality(sqlc.arg(ids)::bigint[]) THEN true
    ELSE (-1)::information_schema.cardinal_number = 0 -- a value that its domain does not allow
END;

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

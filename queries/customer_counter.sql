-- name: CountOrder :one
-- CountOrder counts an order of a user, and returns how many it has made by now.
INSERT INTO customer_counters (user_id, orders) VALUES (sqlc.arg(user_id), 1)
ON CONFLICT (user_id) DO UPDATE SET orders = customer_counters.orders + 1
RETURNING orders;

-- name: GetCustomerCounter :one
-- GetCustomerCounter finds no row for a user who has never ordered.
SELECT * FROM customer_counters WHERE user_id = sqlc.arg(user_id);

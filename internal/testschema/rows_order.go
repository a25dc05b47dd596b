package testschema

// orderRows are the products 1, of which 3 of 10 are sold, and 2, all 5 in stock; order 1 of
// user 1 with the key "first order", of 3 times product 1, with a discount; and its payment.
const orderRows = `;
	INSERT INTO products (name, price_minor, received, stock) VALUES ('Mug', 500, 10, 7), ('Tray', 1200, 5, 5);
	INSERT INTO orders (user_id, idempotency_key, request_digest, subtotal_minor, discount_minor, total_minor, shipping_address, payment_method)
		VALUES (1, 'first order', sha256('first order'), 1500, 100, 1400,
			'{"name": "Ada", "street": "Main Street 1", "city": "London", "country": "GB"}', 'card');
	INSERT INTO order_items (order_id, product_id, product_name, quantity, unit_price_minor) VALUES (1, 1, 'Mug', 3, 500);
	INSERT INTO payments (order_id, user_id, amount_minor, method, provider_key) VALUES (1, 1, 1400, 'card', 'order-1');
	INSERT INTO customer_counters (user_id, orders) VALUES (1, 1)`

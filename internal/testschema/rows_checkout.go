package testschema

// checkoutRows are the reservations 1, which is active, and 2, which was released, of user 2,
// each of 1 times product 2, with the keys "first reservation" and "second reservation"; payment
// 2, of the first one, is pending; payment 3, of the second one, goes back by refund 1.
const checkoutRows = `;
	UPDATE products SET stock = stock - 1 WHERE id = 2;
	INSERT INTO inventory_reservations (user_id, idempotency_key, total_minor, expires_at, status, closed_at) VALUES
		(2, 'first reservation', 1200, now() + interval '15 minutes', 'active', NULL),
		(2, 'second reservation', 1200, now() + interval '15 minutes', 'released', now());
	INSERT INTO reservation_items (reservation_id, product_id, product_name, quantity, unit_price_minor)
		VALUES (1, 2, 'Tray', 1, 1200), (2, 2, 'Tray', 1, 1200);
	INSERT INTO payments (reservation_id, user_id, amount_minor, method, provider_key) VALUES (1, 2, 1200, 'card', 'reservation-1');
	INSERT INTO payments (reservation_id, user_id, amount_minor, method, provider_key, status, asked_at, charge_reference)
		VALUES (2, 2, 1200, 'card', 'reservation-2', 'refunding', now(), 'charge-2');
	INSERT INTO refunds (payment_id, amount_minor, reason, provider_key) VALUES (3, 1200, 'released', 'refund-1')`

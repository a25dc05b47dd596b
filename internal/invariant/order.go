package invariant

// Order are what constraints cannot hold of orders: that stock and counters follow
// them.
var Order = []Invariant{
	{
		"stock is what was received, without what orders and active reservations hold",
		`SELECT format('product %s: %s received, %s in stock, %s held', p.id, p.received, p.stock, coalesce(h.held, 0))
		FROM products p
		LEFT JOIN (
			SELECT product_id, sum(quantity) AS held FROM (
				SELECT i.product_id, i.quantity FROM order_items i JOIN orders o ON o.id = i.order_id
				WHERE NOT o.stock_returned
				UNION ALL
				SELECT i.product_id, i.quantity FROM reservation_items i JOIN inventory_reservations r ON r.id = i.reservation_id
				WHERE r.status = 'active'
			) i GROUP BY product_id
		) h ON h.product_id = p.id
		WHERE p.received - p.stock <> coalesce(h.held, 0)`,
	},
	{
		"each order's items come to its subtotal",
		`SELECT format('order %s: subtotal %s, items %s', o.id, o.subtotal_minor, sum(i.total_minor))
		FROM orders o LEFT JOIN order_items i ON i.order_id = o.id
		GROUP BY o.id HAVING sum(i.total_minor) IS DISTINCT FROM o.subtotal_minor`,
	},
	{
		"each order has a payment of its total",
		`SELECT format('order %s: total %s, payment %s', o.id, o.total_minor, p.amount_minor)
		FROM orders o LEFT JOIN payments p ON p.order_id = o.id
		WHERE p.amount_minor IS DISTINCT FROM o.total_minor`,
	},
	{
		"each user's orders are counted",
		`SELECT format('user %s: %s orders, counted %s', u.id, count(o.id), coalesce(c.orders, 0))
		FROM users u LEFT JOIN orders o ON o.user_id = u.id LEFT JOIN customer_counters c ON c.user_id = u.id
		GROUP BY u.id, c.orders HAVING count(o.id) <> coalesce(c.orders, 0)`,
	},
}

package invariant

// Checkout are what constraints cannot hold of reservations, payments and refunds:
// that no money stays where there are no goods for it.
var Checkout = []Invariant{
	{
		"each reservation's items come to its total",
		`SELECT format('reservation %s: total %s, items %s', r.id, r.total_minor, sum(i.quantity * i.unit_price_minor))
		FROM inventory_reservations r LEFT JOIN reservation_items i ON i.reservation_id = r.id
		GROUP BY r.id HAVING sum(i.quantity * i.unit_price_minor) IS DISTINCT FROM r.total_minor`,
	},
	{
		"an order of a reservation has its items",
		`SELECT format('reservation %s, order %s, product %s', r.id, r.order_id, coalesce(i.product_id, o.product_id))
		FROM inventory_reservations r
		JOIN reservation_items i ON i.reservation_id = r.id
		FULL JOIN (
			SELECT oi.*, x.id AS reservation_id FROM order_items oi JOIN inventory_reservations x ON x.order_id = oi.order_id
		) o ON o.reservation_id = r.id AND o.product_id = i.product_id
		WHERE (r.id IS NULL OR r.order_id IS NOT NULL)
			AND (i.quantity, i.unit_price_minor) IS DISTINCT FROM (o.quantity, o.unit_price_minor)`,
	},
	{
		"no reservation is both confirmed and given back",
		`SELECT format('reservation %s: %s, order %s', id, status, order_id) FROM inventory_reservations
		WHERE (status = 'confirmed') <> (order_id IS NOT NULL)`,
	},
	{
		"what was charged is for an order, or goods that are kept, or goes back",
		`SELECT format('payment %s: order %s is %s, reservation %s is %s', p.id, o.id, o.status, r.id, r.status)
		FROM payments p LEFT JOIN orders o ON o.id = p.order_id LEFT JOIN inventory_reservations r ON r.id = p.reservation_id
		WHERE p.status = 'completed' AND CASE
			WHEN p.order_id IS NOT NULL THEN o.status IN ('cancelled', 'refunded')
			ELSE r.status IS DISTINCT FROM 'active'
		END`,
	},
	{
		"each payment that is to go back has a refund, and no other has",
		`SELECT format('payment %s: %s, refund %s is %s', p.id, p.status, f.id, f.status)
		FROM payments p LEFT JOIN LATERAL (SELECT * FROM refunds f WHERE f.payment_id = p.id ORDER BY f.id DESC LIMIT 1) f ON true
		WHERE CASE p.status
			WHEN 'refunding' THEN f.status IS NULL OR f.status = 'completed'
			WHEN 'refunded' THEN f.status IS DISTINCT FROM 'completed'
			ELSE f.id IS NOT NULL
		END`,
	},
	{
		"the payment of an order that came of a reservation was the reservation's",
		`SELECT format('order %s: payment %s of reservation %s, but reservation %s', p.order_id, p.id, p.reservation_id, r.id)
		FROM payments p LEFT JOIN inventory_reservations r ON r.order_id = p.order_id
		WHERE p.order_id IS NOT NULL AND p.reservation_id IS DISTINCT FROM r.id`,
	},
}

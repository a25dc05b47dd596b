package invariant

// Booking are what must be true of seats and bookings.
var Booking = []Invariant{
	{
		"no seat has two live bookings",
		`SELECT format('seat %s: %s bookings', seat_id, count(*)) FROM bookings
		WHERE status IN ('held', 'confirmed') GROUP BY seat_id HAVING count(*) > 1`,
	},
	{
		"each seat says what its live booking says",
		`SELECT format('seat %s: %s until %s, booking %s: %s until %s', s.id, s.status, s.held_until, b.id, b.status, b.expires_at)
		FROM seats s LEFT JOIN bookings b ON b.seat_id = s.id AND b.status IN ('held', 'confirmed')
		WHERE NOT CASE s.status
			WHEN 'free' THEN b.id IS NULL
			WHEN 'held' THEN b.status IS NOT DISTINCT FROM 'held' AND b.expires_at IS NOT DISTINCT FROM s.held_until
			WHEN 'booked' THEN b.status IS NOT DISTINCT FROM 'confirmed'
		END`,
	},
	{
		"no user has more seats of an event than the event allows",
		`SELECT format('user %s: %s seats of event %s, of %s', b.user_id, count(*), e.id, e.seats_per_user)
		FROM bookings b JOIN events e ON e.id = b.event_id
		WHERE b.status = 'confirmed' OR b.status = 'held' AND b.expires_at > clock_timestamp()
		GROUP BY b.user_id, e.id HAVING count(*) > e.seats_per_user`,
	},
}

package testschema

// bookingRows are the event 1, of which a user may have two seats: seat 1, booked by user 1;
// seat 2, held by user 2; and seat 3, free, which user 1 had with the key "first booking".
const bookingRows = `;
	INSERT INTO events (code, name, seats_per_user) VALUES ('gala', 'Gala', 2);
	INSERT INTO seats (event_id, label, status, held_until)
		VALUES (1, 'A1', 'booked', NULL), (1, 'A2', 'held', '2999-01-01Z'), (1, 'A3', 'free', NULL);
	INSERT INTO bookings (event_id, seat_id, user_id, status, expires_at, idempotency_key)
		VALUES (1, 1, 1, 'confirmed', NULL, NULL), (1, 2, 2, 'held', '2999-01-01Z', NULL), (1, 3, 1, 'cancelled', NULL, 'first booking')`

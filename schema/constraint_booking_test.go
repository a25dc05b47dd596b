package schema_test

// Event 1 has the seats 1, booked by user 1, 2, held by user 2, and 3, free.
var bookingRefusals = []refusal{
	{"events_pkey", "insert into events (id, code, name, seats_per_user) overriding system value values (1, 'new', 'N', 1)", unique},
	{"events_code_key", insertEvent("'gala', 'N', 1"), unique},
	{"events_code_length", insertEvent("'', 'N', 1"), check},
	{"events_code_length", insertEvent("repeat('c', 101), 'N', 1"), check},
	{"events_name_length", insertEvent("'new', '', 1"), check},
	{"events_name_length", insertEvent("'new', repeat('n', 201), 1"), check},
	{"events_seats_per_user_positive", insertEvent("'new', 'N', 0"), check},

	{"seats_pkey", "insert into seats (id, event_id, label) overriding system value values (1, 1, 'new')", unique},
	{"seats_event_id_label_key", "insert into seats (event_id, label) values (1, 'A1')", unique},
	{"seats_event_id_fkey", "insert into seats (event_id, label) values (99, 'A1')", foreign},
	{"seats_event_id_fkey", "delete from events where id = 1", foreign},
	{"seats_label_length", "insert into seats (event_id, label) values (1, '')", check},
	{"seats_label_length", "insert into seats (event_id, label) values (1, repeat('l', 21))", check},
	{"seats_held_until_with_status", "update seats set held_until = null where id = 2", check},
	{"seats_held_until_with_status", "update seats set held_until = now() where id = 3", check},
	{"seats_match_booking", "update seats set status = 'free' where id = 1", check},
	{"seats_match_booking", "update seats set status = 'booked' where id = 3", check},
	{"seats_match_booking", "update seats set status = 'held', held_until = now() where id = 3", check},
	{"seats_match_booking", "update seats set held_until = '2999-01-02Z' where id = 2", check},
	{"seats_match_booking", "update seats set status = 'booked', held_until = null where id = 2", check},
	{"seats_begin_free", "insert into seats (event_id, label, status) values (1, 'new', 'booked')", check},
	{"", "update seats set status = 'gone' where id = 3", badValue},

	{"bookings_pkey", "insert into bookings (id, event_id, seat_id, user_id, status) overriding system value values (1, 1, 3, 1, 'cancelled')", unique},
	{"bookings_user_id_idempotency_key_key", insertBooking("1, 3, 1, 'cancelled', null, 'first booking'"), unique},
	{"bookings_seat_id_live_key", insertBooking("1, 1, 2, 'confirmed', null, null"), unique},
	{"bookings_seat_id_live_key", insertBooking("1, 1, 2, 'held', '2999-01-01Z', null"), unique},
	{"bookings_seat_id_live_key", insertBooking("1, 2, 1, 'confirmed', null, null"), unique},
	{"bookings_seat_id_event_id_fkey", insertBooking("1, 99, 1, 'cancelled', null, null"), foreign},
	{"bookings_seat_id_event_id_fkey", insertBooking("2, 3, 1, 'cancelled', null, null"), foreign},
	{"bookings_seat_id_event_id_fkey", "delete from seats where id = 1", foreign},
	{"bookings_user_id_fkey", insertBooking("1, 3, 99, 'cancelled', null, null"), foreign},
	{"bookings_hold_has_end", insertBooking("1, 3, 1, 'held', null, null"), check},
	{"bookings_hold_has_end", insertBooking("1, 3, 1, 'expired', null, null"), check},
	{"bookings_hold_ends_later", insertBooking("1, 3, 1, 'held', '2000-01-01Z', null"), check},
	{"bookings_idempotency_key_length", insertBooking("1, 3, 1, 'cancelled', null, ''"), check},
	{"bookings_idempotency_key_length", insertBooking("1, 3, 1, 'cancelled', null, repeat('k', 201)"), check},
	{"bookings_match_seat", insertBooking("1, 3, 1, 'confirmed', null, null"), check},
	{"bookings_match_seat", insertBooking("1, 3, 1, 'held', '2999-01-01Z', null"), check},
	{"bookings_match_seat", "update bookings set status = 'confirmed' where id = 2", check},
	{"bookings_match_seat", "update bookings set status = 'cancelled' where id = 1", check},
	{"bookings_match_seat", "update bookings set expires_at = '2999-01-02Z' where id = 2", check},
	{"bookings_match_seat", "update bookings set seat_id = 3 where id = 1", check},
	{"bookings_match_seat", "delete from bookings where id = 1", check},
}

func insertEvent(values string) string {
	return "insert into events (code, name, seats_per_user) values (" + values + ")"
}

func insertBooking(values string) string {
	return "insert into bookings (event_id, seat_id, user_id, status, expires_at, idempotency_key) values (" + values + ")"
}

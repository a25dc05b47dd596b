-- name: GetBooking :one
-- GetBooking reads a user's booking, and whether it is a hold past its end, by the server's
-- clock.
SELECT sqlc.embed(b), s.label, (b.status = 'held' AND b.expires_at <= clock_timestamp())::boolean AS overdue
FROM bookings b JOIN seats s ON s.id = b.seat_id
WHERE b.id = sqlc.arg(id) AND b.user_id = sqlc.arg(user_id);

-- name: BookSeat :one
-- BookSeat takes a seat for a user, if it is free or its hold has ended, and the user has
-- fewer seats of the event than it may have; with hold_for, for that many microseconds. The
-- hold that has ended becomes an expired booking. The row says what was found and what was
-- made: booking_id is the one made, or the one by which the user has the seat already, or
-- zero. No row, and there is no such seat.
--
-- The caller has locked the seat by the statement before (LockSeat), so that what is read
-- here is what holds, and keeps the user's other requests away for the number of seats.
WITH seat AS MATERIALIZED (
    SELECT s.id, s.event_id, e.seats_per_user, clock.at,
           s.status = 'free' OR s.status = 'held' AND s.held_until <= clock.at AS available
    FROM seats s JOIN events e ON e.id = s.event_id CROSS JOIN (SELECT clock_timestamp() AS at) AS clock
    WHERE s.event_id = sqlc.arg(event_id) AND s.label = sqlc.arg(label)
), had AS MATERIALIZED (
    SELECT b.id, b.seat_id, b.status, b.expires_at
    FROM seat JOIN bookings b ON b.event_id = seat.event_id
    WHERE b.user_id = sqlc.arg(user_id) AND (b.status = 'confirmed' OR b.status = 'held' AND b.expires_at > seat.at)
), taken AS (
    UPDATE seats SET
        status = CASE WHEN sqlc.narg(hold_for)::bigint IS NULL THEN 'booked' ELSE 'held' END::seat_status,
        held_until = seat.at + sqlc.narg(hold_for)::bigint * interval '1 microsecond'
    FROM seat
    WHERE seats.id = seat.id AND seat.available AND (SELECT count(*) FROM had) < seat.seats_per_user
    RETURNING seats.id, seats.event_id, seats.status, seats.held_until, seat.at
), expired AS (
    UPDATE bookings SET status = 'expired' FROM seat
    WHERE bookings.seat_id = seat.id AND bookings.live AND EXISTS (SELECT FROM taken)
    RETURNING bookings.id
), made AS (
    INSERT INTO bookings (event_id, seat_id, user_id, status, expires_at, created_at)
    SELECT taken.event_id, taken.id, sqlc.arg(user_id),
           CASE taken.status WHEN 'held' THEN 'held' ELSE 'confirmed' END::booking_status, taken.held_until, taken.at
    FROM taken
    WHERE (SELECT count(*) FROM expired) >= 0 -- after the hold that has ended: its place in the index is needed
    RETURNING id, status, expires_at
)
SELECT seat.id AS seat_id, seat.available::boolean AS available, seat.seats_per_user,
       (SELECT count(*) FROM had) AS seats_had,
       (made.id IS NOT NULL)::boolean AS made, coalesce(made.id, mine.id, 0)::bigint AS booking_id,
       coalesce(made.status, mine.status, 'expired')::booking_status AS status,
       coalesce(made.expires_at, mine.expires_at) AS expires_at
FROM seat LEFT JOIN made ON true LEFT JOIN had mine ON mine.seat_id = seat.id;

-- name: BookAnySeat :one
-- BookAnySeat is BookSeat for the first seat that can be taken and that no other transaction
-- holds, for a request with a key. It waits for nobody. If no seat was found, contended tells
-- whether there were some that others held: they may take them, or leave them. No row, and
-- there is no such event.
WITH event AS MATERIALIZED (
    SELECT e.id, e.seats_per_user, clock.at
    FROM events e CROSS JOIN (SELECT clock_timestamp() AS at) AS clock
    WHERE e.id = sqlc.arg(event_id)
), before AS MATERIALIZED (
    SELECT b.id, b.event_id, b.seat_id, b.status, b.expires_at
    FROM bookings b
    WHERE b.user_id = sqlc.arg(user_id) AND b.idempotency_key = sqlc.arg(idempotency_key)::text
), had AS MATERIALIZED (
    SELECT count(*) AS n
    FROM event JOIN bookings b ON b.event_id = event.id
    WHERE b.user_id = sqlc.arg(user_id) AND (b.status = 'confirmed' OR b.status = 'held' AND b.expires_at > event.at)
), seat AS MATERIALIZED (
    SELECT s.id
    FROM seats s
    WHERE s.event_id = sqlc.arg(event_id) AND s.status <> 'booked'
      AND (s.status = 'free' OR s.held_until <= clock_timestamp())
      AND NOT EXISTS (SELECT FROM before)
      AND (SELECT n FROM had) < (SELECT seats_per_user FROM event)
    ORDER BY s.id LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
), taken AS (
    UPDATE seats SET
        status = CASE WHEN sqlc.narg(hold_for)::bigint IS NULL THEN 'booked' ELSE 'held' END::seat_status,
        held_until = event.at + sqlc.narg(hold_for)::bigint * interval '1 microsecond'
    FROM seat, event
    WHERE seats.id = seat.id
    RETURNING seats.id, seats.event_id, seats.label, seats.status, seats.held_until, event.at
), expired AS (
    UPDATE bookings SET status = 'expired' FROM seat
    WHERE bookings.seat_id = seat.id AND bookings.live
    RETURNING bookings.id
), made AS (
    INSERT INTO bookings (event_id, seat_id, user_id, status, expires_at, created_at, idempotency_key)
    SELECT taken.event_id, taken.id, sqlc.arg(user_id),
           CASE taken.status WHEN 'held' THEN 'held' ELSE 'confirmed' END::booking_status, taken.held_until, taken.at,
           sqlc.arg(idempotency_key)::text
    FROM taken
    WHERE (SELECT count(*) FROM expired) >= 0 -- after the hold that has ended: its place in the index is needed
    RETURNING id, seat_id, status, expires_at
)
SELECT event.seats_per_user, (SELECT n FROM had)::bigint AS seats_had,
       (made.id IS NOT NULL)::boolean AS made, coalesce(made.id, before.id, 0)::bigint AS booking_id,
       coalesce(before.event_id, event.id)::bigint AS event_id,
       coalesce(made.seat_id, before.seat_id, 0)::bigint AS seat_id,
       coalesce((SELECT taken.label FROM taken), (SELECT s.label FROM seats s WHERE s.id = before.seat_id), '')::text AS label,
       coalesce(made.status, before.status, 'expired')::booking_status AS status,
       coalesce(made.expires_at, before.expires_at) AS expires_at,
       (made.id IS NULL AND EXISTS (
           SELECT FROM seats s
           WHERE s.event_id = event.id AND s.status <> 'booked' AND (s.status = 'free' OR s.held_until <= event.at)
       ))::boolean AS contended
FROM event LEFT JOIN made ON true LEFT JOIN before ON true;

-- name: ConfirmBooking :one
-- ConfirmBooking makes a booking of a hold that has not ended, by the clock. The row says what
-- the booking was before, and whether it was confirmed now. The caller has locked the seat by
-- the statement before (LockSeatOfBooking).
WITH booking AS MATERIALIZED (
    SELECT b.id, b.event_id, b.seat_id, s.label, b.status, b.expires_at,
           b.status = 'held' AND b.expires_at > clock_timestamp() AS can
    FROM bookings b JOIN seats s ON s.id = b.seat_id
    WHERE b.id = sqlc.arg(id) AND b.user_id = sqlc.arg(user_id)
), confirmed AS (
    UPDATE bookings SET status = 'confirmed' FROM booking
    WHERE bookings.id = booking.id AND booking.can
    RETURNING bookings.seat_id
), taken AS (
    UPDATE seats SET status = 'booked', held_until = NULL FROM booking
    WHERE seats.id = booking.seat_id AND booking.can
    RETURNING seats.id
)
SELECT booking.event_id, booking.seat_id, booking.label, booking.status, booking.expires_at, booking.can::boolean AS done
FROM booking;

-- name: EndBooking :one
-- EndBooking frees the seat of a live booking: of a hold that has not ended, by the clock, and
-- where status is to be cancelled of a confirmed one too. The row says what the booking was
-- before, and whether it was ended now. The caller has locked the seat by the statement before
-- (LockSeatOfBooking).
WITH booking AS MATERIALIZED (
    SELECT b.id, b.event_id, b.seat_id, s.label, b.status, b.expires_at,
           b.status = 'held' AND b.expires_at > clock_timestamp()
               OR b.status = 'confirmed' AND sqlc.arg(status)::booking_status = 'cancelled' AS can
    FROM bookings b JOIN seats s ON s.id = b.seat_id
    WHERE b.id = sqlc.arg(id) AND b.user_id = sqlc.arg(user_id)
), ended AS (
    UPDATE bookings SET status = sqlc.arg(status) FROM booking
    WHERE bookings.id = booking.id AND booking.can
    RETURNING bookings.seat_id
), freed AS (
    UPDATE seats SET status = 'free', held_until = NULL FROM booking
    WHERE seats.id = booking.seat_id AND booking.can
    RETURNING seats.id
)
SELECT booking.event_id, booking.seat_id, booking.label, booking.status, booking.expires_at, booking.can::boolean AS done
FROM booking;

-- name: ExpireHolds :execrows
-- ExpireHolds frees up to max_rows seats whose holds have ended, the longest ended first, and
-- passes over those that others hold: somebody is taking, confirming or sweeping them.
-- @allow lock-order bookings are changed by whoever holds their seats, and these seats are held
WITH due AS MATERIALIZED (
    SELECT id, held_until FROM seats
    WHERE status = 'held' AND held_until <= now()
    ORDER BY held_until, id LIMIT sqlc.arg(max_rows)
    FOR NO KEY UPDATE SKIP LOCKED
), expired AS (
    UPDATE bookings SET status = 'expired' FROM due
    WHERE bookings.seat_id = due.id AND bookings.live AND bookings.expires_at = due.held_until
    RETURNING bookings.seat_id
)
UPDATE seats SET status = 'free', held_until = NULL FROM due
WHERE seats.id = due.id AND EXISTS (SELECT FROM expired WHERE expired.seat_id = due.id);

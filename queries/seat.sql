-- name: LockSeat :one
-- LockSeat locks a seat in order to book it. Rows that refer to it may be inserted
-- meanwhile. What the transaction reads after it, at READ COMMITTED, is what the seat's last
-- holder has left.
SELECT id FROM seats
WHERE event_id = sqlc.arg(event_id) AND label = sqlc.arg(label)
FOR NO KEY UPDATE;

-- name: LockSeatNowait :one
-- LockSeatNowait is LockSeat for those who would rather fail than wait: if another
-- transaction holds the seat, the error is txn.ErrLockNotAvailable at once.
SELECT id FROM seats
WHERE event_id = sqlc.arg(event_id) AND label = sqlc.arg(label)
FOR NO KEY UPDATE NOWAIT;

-- name: LockSeatOfBooking :one
-- LockSeatOfBooking locks the seat of a user's booking in order to change the booking. A
-- seat is locked before its bookings.
SELECT s.id FROM bookings b JOIN seats s ON s.id = b.seat_id
WHERE b.id = sqlc.arg(booking_id) AND b.user_id = sqlc.arg(user_id)
FOR NO KEY UPDATE OF s;

-- name: ListAvailableSeats :many
-- ListAvailableSeats returns a page of an event's seats that can be taken, behind an id that
-- an earlier page ended with.
SELECT id, label FROM seats
WHERE event_id = sqlc.arg(event_id) AND id > sqlc.arg(after_id) AND status <> 'booked'
  AND (status = 'free' OR held_until <= clock_timestamp())
ORDER BY id LIMIT sqlc.arg(max_rows);

-- +goose Up
CREATE TYPE booking_status AS ENUM ('held', 'confirmed', 'released', 'expired', 'cancelled');

CREATE TABLE bookings (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    event_id        bigint         NOT NULL,
    seat_id         bigint         NOT NULL,
    user_id         bigint         NOT NULL,
    status          booking_status NOT NULL,
    live            boolean        NOT NULL GENERATED ALWAYS AS (status IN ('held', 'confirmed')) STORED,
    expires_at      timestamptz,
    idempotency_key text,
    created_at      timestamptz    NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT bookings_pkey PRIMARY KEY (id),
    CONSTRAINT bookings_user_id_idempotency_key_key UNIQUE (user_id, idempotency_key),
    CONSTRAINT bookings_seat_id_event_id_fkey FOREIGN KEY (seat_id, event_id) REFERENCES seats (id, event_id),
    CONSTRAINT bookings_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT bookings_hold_has_end CHECK (expires_at IS NOT NULL OR status NOT IN ('held', 'released', 'expired')),
    CONSTRAINT bookings_hold_ends_later CHECK (expires_at > created_at),
    CONSTRAINT bookings_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200)
);
-- A seat is one booking's at a time, whatever locks were taken or forgotten.
CREATE UNIQUE INDEX bookings_seat_id_live_key ON bookings (seat_id) WHERE live;
CREATE INDEX bookings_seat_id_idx ON bookings (seat_id, id);
CREATE INDEX bookings_user_id_idx ON bookings (user_id, event_id, id);

COMMENT ON TABLE bookings IS 'Who has, or had, which seat. A booking that is over stays, for the record.';
COMMENT ON COLUMN bookings.event_id IS 'The seat''s event, so that a user''s seats for an event can be counted without the seats.';
COMMENT ON COLUMN bookings.status IS
    'A hold is confirmed, or released by its user, or expires; a confirmed booking may be cancelled.';
COMMENT ON COLUMN bookings.live IS 'Derived from status: the seat is this booking''s. A hold past its end is live until somebody takes the seat, or it is swept.';
COMMENT ON COLUMN bookings.expires_at IS 'When the hold ends or ended; null for a booking that was never a hold.';
COMMENT ON COLUMN bookings.idempotency_key IS
    'Chosen by whoever asked for any seat: the same request sent again finds this row and takes no second seat. Null where the request named the seat.';
COMMENT ON COLUMN bookings.created_at IS 'By the clock, not the transaction''s beginning: a hold counts from when it was made.';

-- seat_matches_booking demands that a seat says what its live booking says. It is asked at
-- COMMIT, since the two rows may be changed one after the other.
-- +goose StatementBegin
CREATE FUNCTION seat_matches_booking() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    touched bigint[];
BEGIN
    IF tg_table_name = 'seats' THEN
        touched := ARRAY[new.id];
    ELSE
        touched := ARRAY[old.seat_id, new.seat_id];
    END IF;
    IF EXISTS (
        SELECT FROM seats s LEFT JOIN bookings b ON b.seat_id = s.id AND b.live
        WHERE s.id = ANY (touched) AND (s.status, s.held_until) IS DISTINCT FROM (
            CASE b.status WHEN 'held' THEN 'held' WHEN 'confirmed' THEN 'booked' ELSE 'free' END::seat_status,
            CASE b.status WHEN 'held' THEN b.expires_at END)
    ) THEN
        RAISE EXCEPTION 'seat % does not say what its live booking says', touched
            USING ERRCODE = 'check_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name, CONSTRAINT = tg_name;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE CONSTRAINT TRIGGER bookings_match_seat AFTER INSERT OR UPDATE OR DELETE ON bookings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seat_matches_booking();
CREATE CONSTRAINT TRIGGER seats_match_booking AFTER UPDATE ON seats
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seat_matches_booking();
-- The thousands of free seats of a new event have nothing to be compared with.
CREATE CONSTRAINT TRIGGER seats_begin_free AFTER INSERT ON seats
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.status <> 'free') EXECUTE FUNCTION seat_matches_booking();

-- +goose Down
DROP TRIGGER seats_begin_free ON seats;
DROP TRIGGER seats_match_booking ON seats;
DROP TABLE bookings;
DROP FUNCTION seat_matches_booking();
DROP TYPE booking_status;

-- +goose Up
CREATE TYPE seat_status AS ENUM ('free', 'held', 'booked');

CREATE TABLE seats (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    event_id   bigint      NOT NULL,
    label      text        NOT NULL,
    status     seat_status NOT NULL DEFAULT 'free',
    held_until timestamptz,
    CONSTRAINT seats_pkey PRIMARY KEY (id),
    -- So that a foreign key can demand the event too.
    CONSTRAINT seats_id_event_id_key UNIQUE (id, event_id),
    CONSTRAINT seats_event_id_label_key UNIQUE (event_id, label),
    CONSTRAINT seats_event_id_fkey FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT seats_label_length CHECK (length(label) BETWEEN 1 AND 20),
    CONSTRAINT seats_held_until_with_status CHECK ((status = 'held') = (held_until IS NOT NULL))
);
CREATE INDEX seats_available_idx ON seats (event_id, id) WHERE status <> 'booked';
CREATE INDEX seats_held_until_idx ON seats (held_until, id) WHERE status = 'held';

COMMENT ON TABLE seats IS 'The seats of an event, and who comes first is decided here: a seat''s row is locked, and changed, by whoever takes it.';
COMMENT ON COLUMN seats.label IS 'What is written on the seat, such as C14.';
COMMENT ON COLUMN seats.status IS 'What the seat''s live booking says; free if there is none.';
COMMENT ON COLUMN seats.held_until IS 'The end of the hold. From then on anybody may take the seat, whether it was swept or not.';

-- +goose Down
DROP TABLE seats;
DROP TYPE seat_status;

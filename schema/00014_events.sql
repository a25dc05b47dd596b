-- +goose Up
CREATE TABLE events (
    id             bigint GENERATED ALWAYS AS IDENTITY,
    code           text        NOT NULL,
    name           text        NOT NULL,
    seats_per_user integer     NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_code_key UNIQUE (code),
    CONSTRAINT events_code_length CHECK (length(code) BETWEEN 1 AND 100),
    CONSTRAINT events_name_length CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT events_seats_per_user_positive CHECK (seats_per_user > 0)
);

COMMENT ON TABLE events IS 'What seats are booked for.';
COMMENT ON COLUMN events.code IS 'Chosen by whoever makes the event: the same request sent again makes no second one.';
COMMENT ON COLUMN events.seats_per_user IS
    'How many seats a user may hold or have at a time. It counts rows of another table, which no constraint does: service/booking keeps it by a lock or by serializable transactions.';

-- +goose Down
DROP TABLE events;

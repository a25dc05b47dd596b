-- +goose Up
CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    email      text        NOT NULL,
    name       text        NOT NULL,
    active     boolean     NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    -- Not a proof that mail arrives: one @ with something on both sides, no blanks.
    CONSTRAINT users_email_format CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND length(email) <= 254),
    CONSTRAINT users_name_length CHECK (length(name) BETWEEN 1 AND 200)
);
-- An address is one person's in whatever case it is written.
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

COMMENT ON TABLE users IS 'People who signed up.';
COMMENT ON COLUMN users.email IS 'As the user wrote it; unique without regard to case.';
COMMENT ON COLUMN users.active IS 'False for a user who may not log in any more; the rows stay, because the books refer to them.';

-- +goose Down
DROP TABLE users;

-- +goose Up
CREATE TABLE profiles (
    user_id      bigint      NOT NULL,
    display_name text        NOT NULL,
    bio          text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT profiles_pkey PRIMARY KEY (user_id),
    CONSTRAINT profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT profiles_display_name_length CHECK (length(display_name) BETWEEN 1 AND 200),
    CONSTRAINT profiles_bio_length CHECK (length(bio) <= 2000)
);

COMMENT ON TABLE profiles IS 'What a user shows to others; one row a user, made at sign-up.';

-- +goose Down
DROP TABLE profiles;

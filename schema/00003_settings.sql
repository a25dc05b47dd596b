-- +goose Up
CREATE TABLE settings (
    user_id    bigint  NOT NULL,
    locale     text    NOT NULL DEFAULT 'en',
    time_zone  text    NOT NULL DEFAULT 'UTC',
    newsletter boolean NOT NULL DEFAULT false,
    CONSTRAINT settings_pkey PRIMARY KEY (user_id),
    CONSTRAINT settings_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT settings_locale_length CHECK (length(locale) BETWEEN 2 AND 35),
    CONSTRAINT settings_time_zone_length CHECK (length(time_zone) BETWEEN 1 AND 64)
);

COMMENT ON TABLE settings IS 'What a user chose for itself; one row a user, made at sign-up.';
COMMENT ON COLUMN settings.locale IS 'A BCP 47 language tag.';
COMMENT ON COLUMN settings.time_zone IS 'A name of the IANA time zone database.';

-- +goose Down
DROP TABLE settings;

-- +goose Up
CREATE TABLE critical_records (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    request_key text        NOT NULL,
    user_id     bigint      NOT NULL,
    version     bigint      NOT NULL DEFAULT 1,
    data        bytea       NOT NULL,
    checksum    bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT critical_records_pkey PRIMARY KEY (id),
    CONSTRAINT critical_records_request_key_key UNIQUE (request_key),
    CONSTRAINT critical_records_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT critical_records_request_key_length CHECK (length(request_key) BETWEEN 1 AND 200),
    CONSTRAINT critical_records_version_positive CHECK (version > 0),
    CONSTRAINT critical_records_data_length CHECK (octet_length(data) BETWEEN 1 AND 1048576),
    -- Computed by the program from what it meant to write: damage on the way is refused here.
    CONSTRAINT critical_records_checksum_matches CHECK (checksum = sha256(data))
);
CREATE INDEX critical_records_user_id_idx ON critical_records (user_id);

COMMENT ON TABLE critical_records IS
    'Data that must not be lost or altered unnoticed, as it is now. Each version is kept in critical_record_copies, and logged in system_log.';
COMMENT ON COLUMN critical_records.request_key IS
    'Chosen by whoever asked: the same request sent again finds this row and makes no other.';
COMMENT ON COLUMN critical_records.user_id IS 'Who wrote the version that the row holds.';
COMMENT ON COLUMN critical_records.version IS 'Grows by one with every change, for optimistic updates.';
COMMENT ON COLUMN critical_records.data IS 'The bytes as they were given.';
COMMENT ON COLUMN critical_records.checksum IS 'SHA-256 of the data, computed by the program that wrote it.';

CREATE TABLE critical_record_copies (
    record_id        bigint      NOT NULL,
    version          bigint      NOT NULL,
    user_id          bigint      NOT NULL,
    data             bytea       NOT NULL,
    checksum         bytea       NOT NULL,
    previous         bytea,
    seal             bytea       NOT NULL GENERATED ALWAYS AS
        (sha256(coalesce(previous, '') || int8send(record_id) || int8send(version) || int8send(user_id) || checksum)) STORED,
    -- For the foreign key that chains the versions.
    previous_version bigint      GENERATED ALWAYS AS (nullif(version - 1, 0)) STORED,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT critical_record_copies_pkey PRIMARY KEY (record_id, version),
    -- So that foreign keys can demand the contents too.
    CONSTRAINT critical_record_copies_checksum_key UNIQUE (record_id, version, checksum),
    CONSTRAINT critical_record_copies_seal_key UNIQUE (record_id, version, seal),
    CONSTRAINT critical_record_copies_record_id_fkey FOREIGN KEY (record_id) REFERENCES critical_records (id),
    CONSTRAINT critical_record_copies_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT critical_record_copies_previous_fkey FOREIGN KEY (record_id, previous_version, previous)
        REFERENCES critical_record_copies (record_id, version, seal),
    CONSTRAINT critical_record_copies_version_positive CHECK (version > 0),
    CONSTRAINT critical_record_copies_first_has_no_previous CHECK ((version = 1) = (previous IS NULL)),
    CONSTRAINT critical_record_copies_checksum_matches CHECK (checksum = sha256(data))
);
CREATE INDEX critical_record_copies_user_id_idx ON critical_record_copies (user_id);

COMMENT ON TABLE critical_record_copies IS
    'Each version that a critical record ever had. Rows are never changed. It is a history, and no backup: it is lost with the database.';
COMMENT ON COLUMN critical_record_copies.user_id IS 'Who wrote the version.';
COMMENT ON COLUMN critical_record_copies.previous IS 'The seal of the version before; null for the first.';
COMMENT ON COLUMN critical_record_copies.seal IS
    'SHA-256 over the seal of the version before and this version''s row: whoever altered one unnoticed would have to alter all that follow. A seal kept elsewhere shows even that.';
COMMENT ON COLUMN critical_record_copies.previous_version IS 'Derived from version; makes the foreign key demand the version before.';

CREATE TRIGGER critical_record_copies_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON critical_record_copies
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A record is at any time what its newest copy says.
ALTER TABLE critical_records ADD CONSTRAINT critical_records_copy_fkey FOREIGN KEY (id, version, checksum)
    REFERENCES critical_record_copies (record_id, version, checksum);

-- +goose Down
DROP TABLE critical_records, critical_record_copies;

-- +goose Up
CREATE TYPE system_operation AS ENUM ('critical_record_created', 'critical_record_changed');

CREATE TABLE system_log (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    operation  system_operation NOT NULL,
    record_id  bigint           NOT NULL,
    version    bigint           NOT NULL,
    user_id    bigint           NOT NULL,
    created_at timestamptz      NOT NULL DEFAULT now(),
    CONSTRAINT system_log_pkey PRIMARY KEY (id),
    CONSTRAINT system_log_record_id_version_key UNIQUE (record_id, version),
    CONSTRAINT system_log_record_id_version_fkey FOREIGN KEY (record_id, version)
        REFERENCES critical_record_copies (record_id, version),
    CONSTRAINT system_log_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT system_log_first_version_is_created CHECK ((operation = 'critical_record_created') = (version = 1))
);
CREATE INDEX system_log_user_id_idx ON system_log (user_id, id);

COMMENT ON TABLE system_log IS 'What was done to critical records, and by whom. Rows are never changed.';
COMMENT ON COLUMN system_log.version IS 'The version that the operation made.';

CREATE TRIGGER system_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON system_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- No version without its entry.
ALTER TABLE critical_record_copies ADD CONSTRAINT critical_record_copies_logged_fkey FOREIGN KEY (record_id, version)
    REFERENCES system_log (record_id, version);

-- +goose Down
ALTER TABLE critical_record_copies DROP CONSTRAINT critical_record_copies_logged_fkey;
DROP TABLE system_log;
DROP TYPE system_operation;

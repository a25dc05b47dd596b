-- +goose Up
CREATE TABLE activity_log (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    user_id    bigint      NOT NULL,
    action     text        NOT NULL,
    entity     text        NOT NULL,
    details    jsonb       NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT activity_log_pkey PRIMARY KEY (id),
    CONSTRAINT activity_log_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT activity_log_action_length CHECK (length(action) BETWEEN 1 AND 50),
    CONSTRAINT activity_log_entity_length CHECK (length(entity) BETWEEN 1 AND 100),
    CONSTRAINT activity_log_details_object CHECK (jsonb_typeof(details) = 'object')
);
CREATE INDEX activity_log_user_id_idx ON activity_log (user_id, id);

COMMENT ON TABLE activity_log IS 'What users did, for themselves and for support to look up.';
COMMENT ON COLUMN activity_log.action IS 'A verb of the application, such as sign_up.';
COMMENT ON COLUMN activity_log.entity IS 'What it was done to, such as users:7.';

-- +goose Down
DROP TABLE activity_log;

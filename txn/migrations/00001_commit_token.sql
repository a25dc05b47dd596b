-- +goose Up
CREATE SCHEMA IF NOT EXISTS interlock;

CREATE TABLE interlock.commit_token (
    key         text        NOT NULL,
    attempt     text,
    voided      text[]      NOT NULL DEFAULT '{}',
    fingerprint text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT commit_token_pkey PRIMARY KEY (key),
    CONSTRAINT commit_token_key_length CHECK (length(key) BETWEEN 1 AND 200)
);
CREATE INDEX commit_token_created_at_idx ON interlock.commit_token (created_at);

COMMENT ON TABLE interlock.commit_token IS
    'The idempotency keys of transactions: each row was written by the transaction that it tells of, or by somebody who asked for its outcome.';
COMMENT ON COLUMN interlock.commit_token.attempt IS
    'The attempt that was committed; null if none was.';
COMMENT ON COLUMN interlock.commit_token.voided IS
    'Attempts that were found not committed, and can not be any more.';
COMMENT ON COLUMN interlock.commit_token.fingerprint IS
    'What the request was, to find a key that was used for another one.';

-- +goose Down
DROP TABLE interlock.commit_token;
-- Other packages may keep something there.
-- +goose StatementBegin
DO $$ BEGIN
    DROP SCHEMA interlock;
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END $$;
-- +goose StatementEnd

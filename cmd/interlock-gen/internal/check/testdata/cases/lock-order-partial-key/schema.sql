CREATE TABLE links (
    id         bigint PRIMARY KEY,
    owner_id   bigint NOT NULL,
    name       text   NOT NULL,
    state      text   NOT NULL,
    deleted    boolean NOT NULL,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX ON links (owner_id, name) WHERE deleted IS FALSE;
CREATE UNIQUE INDEX ON links (name) WHERE state = 'open' AND revoked_at IS NULL;
CREATE INDEX ON links (owner_id);

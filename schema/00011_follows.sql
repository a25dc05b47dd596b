-- +goose Up
CREATE TABLE follows (
    author_id   bigint      NOT NULL,
    follower_id bigint      NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT follows_pkey PRIMARY KEY (author_id, follower_id),
    CONSTRAINT follows_author_id_fkey FOREIGN KEY (author_id) REFERENCES users (id),
    CONSTRAINT follows_follower_id_fkey FOREIGN KEY (follower_id) REFERENCES users (id),
    CONSTRAINT follows_others_only CHECK (author_id <> follower_id)
);
CREATE INDEX follows_follower_id_idx ON follows (follower_id, author_id);

COMMENT ON TABLE follows IS 'Who wants to hear of whose posts.';

-- +goose Down
DROP TABLE follows;

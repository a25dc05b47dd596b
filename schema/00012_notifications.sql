-- +goose Up
CREATE TABLE notifications (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    user_id    bigint      NOT NULL,
    post_id    bigint      NOT NULL,
    message    text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT notifications_pkey PRIMARY KEY (id),
    CONSTRAINT notifications_post_id_user_id_key UNIQUE (post_id, user_id),
    CONSTRAINT notifications_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT notifications_post_id_fkey FOREIGN KEY (post_id) REFERENCES posts (id),
    CONSTRAINT notifications_message_length CHECK (length(message) BETWEEN 1 AND 500)
);
CREATE INDEX notifications_user_id_idx ON notifications (user_id, id);

COMMENT ON TABLE notifications IS 'News of published posts for those who followed the author then, once a post and user.';
COMMENT ON COLUMN notifications.user_id IS 'Who is told.';
COMMENT ON COLUMN notifications.message IS 'With the names that author and post had when it was published.';

-- +goose Down
DROP TABLE notifications;

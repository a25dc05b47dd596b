-- +goose Up
CREATE TABLE tags (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    name         text        NOT NULL,
    display_name text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tags_pkey PRIMARY KEY (id),
    CONSTRAINT tags_name_key UNIQUE (name),
    CONSTRAINT tags_name_length CHECK (length(name) BETWEEN 1 AND 50),
    CONSTRAINT tags_name_trimmed CHECK (trimmed_length(name) = length(name)),
    CONSTRAINT tags_display_name_length CHECK (length(display_name) BETWEEN 1 AND 50)
);

COMMENT ON TABLE tags IS 'What posts are about. Tags are added and never changed or removed.';
COMMENT ON COLUMN tags.name IS
    'In lower case by the rules of Unicode, which the application applies: lower() of the server follows the locale of the database.';
COMMENT ON COLUMN tags.display_name IS 'The name as the first one to use it wrote it.';

CREATE TABLE post_tags (
    post_id bigint NOT NULL,
    tag_id  bigint NOT NULL,
    CONSTRAINT post_tags_pkey PRIMARY KEY (post_id, tag_id),
    CONSTRAINT post_tags_post_id_fkey FOREIGN KEY (post_id) REFERENCES posts (id),
    CONSTRAINT post_tags_tag_id_fkey FOREIGN KEY (tag_id) REFERENCES tags (id)
);
CREATE INDEX post_tags_tag_id_idx ON post_tags (tag_id, post_id);

COMMENT ON TABLE post_tags IS 'Which post has which tag.';

-- +goose Down
DROP TABLE post_tags;
DROP TABLE tags;

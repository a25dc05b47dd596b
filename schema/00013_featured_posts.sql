-- +goose Up
CREATE TABLE front_pages (
    day   date     NOT NULL,
    taken smallint NOT NULL,
    CONSTRAINT front_pages_pkey PRIMARY KEY (day),
    CONSTRAINT front_pages_taken_of_three CHECK (taken BETWEEN 1 AND 3)
);

COMMENT ON TABLE front_pages IS 'How many of the three slots of a day''s front page are taken. The row makes those wait for one another who want one.';
COMMENT ON COLUMN front_pages.day IS 'In UTC.';

CREATE TABLE featured_posts (
    post_id    bigint      NOT NULL,
    author_id  bigint      NOT NULL,
    day        date        NOT NULL,
    slot       smallint    NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT featured_posts_pkey PRIMARY KEY (post_id),
    CONSTRAINT featured_posts_day_slot_key UNIQUE (day, slot),
    CONSTRAINT featured_posts_author_id_day_key UNIQUE (author_id, day),
    CONSTRAINT featured_posts_post_id_fkey FOREIGN KEY (post_id, author_id) REFERENCES posts (id, author_id),
    CONSTRAINT featured_posts_day_fkey FOREIGN KEY (day) REFERENCES front_pages (day),
    CONSTRAINT featured_posts_slot_of_three CHECK (slot BETWEEN 1 AND 3)
);

COMMENT ON TABLE featured_posts IS 'Which posts a day''s front page shows: three at most, one of an author, each once for good.';
COMMENT ON COLUMN featured_posts.author_id IS 'The post''s, for the key that gives an author one slot a day.';

-- +goose Down
DROP TABLE featured_posts;
DROP TABLE front_pages;

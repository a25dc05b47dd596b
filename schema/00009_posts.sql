-- +goose Up
CREATE TYPE post_status AS ENUM ('draft', 'published');

-- trimmed_length counts the characters of a text without what Unicode calls white space at
-- its ends, as the application does. btrim alone knows nothing but the blank.
-- +goose StatementBegin
CREATE FUNCTION trimmed_length(text) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT length(btrim($1, E' \t\n\u000b\f\r\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'))
$$;
-- +goose StatementEnd

CREATE TABLE posts (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    author_id       bigint      NOT NULL,
    title           text        NOT NULL,
    content         text        NOT NULL,
    status          post_status NOT NULL DEFAULT 'draft',
    version         bigint      NOT NULL DEFAULT 1,
    idempotency_key text,
    request_digest  bytea,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    published_at    timestamptz,
    CONSTRAINT posts_pkey PRIMARY KEY (id),
    -- So that a foreign key can demand the author too.
    CONSTRAINT posts_id_author_id_key UNIQUE (id, author_id),
    CONSTRAINT posts_author_id_idempotency_key_key UNIQUE (author_id, idempotency_key),
    CONSTRAINT posts_author_id_fkey FOREIGN KEY (author_id) REFERENCES users (id),
    CONSTRAINT posts_title_length CHECK (length(title) <= 200),
    CONSTRAINT posts_content_length CHECK (length(content) <= 100000),
    CONSTRAINT posts_version_positive CHECK (version > 0),
    CONSTRAINT posts_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT posts_request_digest_with_key CHECK ((request_digest IS NULL) = (idempotency_key IS NULL)),
    CONSTRAINT posts_request_digest_length CHECK (length(request_digest) = 32),
    CONSTRAINT posts_published_at_of_published CHECK ((status = 'published') = (published_at IS NOT NULL)),
    -- What a draft need not have yet, and what an edit cannot take from readers.
    CONSTRAINT posts_published_title_length CHECK (status = 'draft' OR trimmed_length(title) >= 5),
    CONSTRAINT posts_published_content_length CHECK (status = 'draft' OR trimmed_length(content) >= 100)
);
CREATE INDEX posts_author_id_idx ON posts (author_id, id);

COMMENT ON TABLE posts IS 'What users write. A draft is its author''s alone until it is published, which cannot be taken back.';
COMMENT ON COLUMN posts.version IS 'Grows by one with every change of the row, for optimistic updates.';
COMMENT ON COLUMN posts.idempotency_key IS
    'Chosen by whoever asked: the same request of this author sent again finds this row and creates nothing. Null for posts that came another way.';
COMMENT ON COLUMN posts.request_digest IS
    'SHA-256 of that request, so that another one with the same key is told from it after the post was edited.';
COMMENT ON COLUMN posts.published_at IS 'Null for drafts.';

CREATE TABLE author_counters (
    user_id         bigint NOT NULL,
    posts           bigint NOT NULL DEFAULT 0,
    published_posts bigint NOT NULL DEFAULT 0,
    CONSTRAINT author_counters_pkey PRIMARY KEY (user_id),
    CONSTRAINT author_counters_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT author_counters_published_posts_not_negative CHECK (published_posts >= 0),
    CONSTRAINT author_counters_posts_include_published CHECK (posts >= published_posts)
);

COMMENT ON TABLE author_counters IS
    'How many posts an author has; no row, no posts. A table of its own, so that counting does not lock the user.';
COMMENT ON COLUMN author_counters.posts IS 'Drafts and published ones.';

-- +goose Down
DROP TABLE author_counters;
DROP TABLE posts;
DROP FUNCTION trimmed_length(text);
DROP TYPE post_status;

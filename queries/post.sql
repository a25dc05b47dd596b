-- name: CreatePost :one
-- CreatePost adds a draft. No row, and nothing was done: the author has a post with this key.
-- It fails with posts_author_id_fkey if there is no such user.
INSERT INTO posts (author_id, title, content, idempotency_key, request_digest)
VALUES (sqlc.arg(author_id), sqlc.arg(title), sqlc.arg(content), sqlc.arg(idempotency_key)::text, sqlc.arg(request_digest)::bytea)
ON CONFLICT (author_id, idempotency_key) DO NOTHING
RETURNING *;

-- name: FindPostByKey :one
-- FindPostByKey finds what a request of an author with this key created.
SELECT * FROM posts WHERE author_id = sqlc.arg(author_id) AND idempotency_key = sqlc.arg(idempotency_key)::text;

-- name: GetPost :one
-- GetPost reads a post as it was last committed. To decide on a change by what it says, lock
-- the post instead, or change it at the version that it had.
SELECT * FROM posts WHERE id = sqlc.arg(id);

-- name: LockPost :one
-- LockPost locks an author's post in order to publish it. No row: there is no such post, or
-- it is somebody else's, which stays unlocked. Tags, notifications and whatever else refers
-- to the post may be added meanwhile.
SELECT * FROM posts WHERE id = sqlc.arg(id) AND author_id = sqlc.arg(author_id) FOR NO KEY UPDATE;

-- name: PublishPost :one
-- PublishPost makes a draft a published post, and returns it. It fails with
-- posts_published_title_length or posts_published_content_length where that is too little.
-- The times are the statement's, not now(): the transaction may have begun before the version
-- that it changes was written, and time is not to go back.
--
-- @affects one
UPDATE posts SET status = 'published', published_at = statement_timestamp(), updated_at = statement_timestamp(), version = version + 1
WHERE id = sqlc.arg(id) AND status = 'draft'
RETURNING *;

-- name: EditPost :one
-- EditPost changes an author's post if it is still in the version that the author read, and
-- returns it as it is then. For its time, see PublishPost.
--
-- @optimistic version
UPDATE posts SET title = sqlc.arg(title), content = sqlc.arg(content), updated_at = statement_timestamp(), version = version + 1
WHERE id = sqlc.arg(id) AND author_id = sqlc.arg(author_id) AND version = sqlc.arg(version)
RETURNING *;

-- name: ListPostsOfAuthor :many
-- ListPostsOfAuthor returns a page of an author's posts, newest first, below an id that an
-- earlier page ended with. Contents are left out.
SELECT id, title, status, version, created_at, updated_at, published_at FROM posts
WHERE author_id = sqlc.arg(author_id) AND id < sqlc.arg(before_id) AND (status = 'published' OR sqlc.arg(with_drafts)::boolean)
ORDER BY id DESC LIMIT sqlc.arg(max_rows);

-- name: GetDocument :one
-- GetDocument reads a published post with the names that readers search by, as of one moment.
SELECT p.id, p.version, p.title, p.content, p.published_at::timestamptz AS published_at, u.name AS author,
       ARRAY (SELECT t.name FROM post_tags m JOIN tags t ON t.id = m.tag_id WHERE m.post_id = p.id ORDER BY t.name)::text[] AS tags
FROM posts p JOIN users u ON u.id = p.author_id
WHERE p.id = sqlc.arg(id) AND p.status = 'published';

-- name: CountPost :one
-- CountPost counts a new draft of an author.
INSERT INTO author_counters (user_id, posts) VALUES (sqlc.arg(user_id), 1)
ON CONFLICT (user_id) DO UPDATE SET posts = author_counters.posts + 1
RETURNING *;

-- name: CountPublishedPost :one
-- CountPublishedPost counts a draft that was published. That the author has no counters is an
-- error: the draft was counted.
--
-- @affects one
UPDATE author_counters SET published_posts = published_posts + 1 WHERE user_id = sqlc.arg(user_id) RETURNING *;

-- name: GetAuthorCounters :one
-- GetAuthorCounters finds no row for who never wrote.
SELECT * FROM author_counters WHERE user_id = sqlc.arg(user_id);

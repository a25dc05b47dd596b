-- name: FeaturePost :one
-- FeaturePost puts a post on today's front page, and returns its slot; zero, and nothing was
-- done: the page is full. No row, and nothing was done: there is no such post of the author, or
-- it is a draft. It fails with featured_posts_pkey if the post was featured before, and with
-- featured_posts_author_id_day_key if another one of the author is there today. Until the
-- transaction ends, others who want a slot wait.
WITH post AS MATERIALIZED (
    -- Not locked: what is published stays so.
    SELECT id, author_id FROM posts
    WHERE id = sqlc.arg(post_id)::bigint AND author_id = sqlc.arg(author_id)::bigint AND status = 'published'
), page AS (
    INSERT INTO front_pages (day, taken) SELECT (now() AT TIME ZONE 'UTC')::date, 1 FROM post
    ON CONFLICT (day) DO UPDATE SET taken = front_pages.taken + 1 WHERE front_pages.taken < 3
    RETURNING day, taken
), featured AS (
    INSERT INTO featured_posts (post_id, author_id, day, slot)
    SELECT post.id, post.author_id, page.day, page.taken FROM post, page
    RETURNING slot
)
SELECT coalesce((SELECT slot FROM featured), 0)::smallint AS slot FROM post;

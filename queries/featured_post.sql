-- name: FeaturePost :one
-- FeaturePost puts a post on today's front page, and returns its slot. No row, and nothing was
-- done: the page is full. It fails with featured_posts_pkey if the post was featured before,
-- and with featured_posts_author_id_day_key if another one of the author is there today. Until
-- the transaction ends, others who want a slot wait.
WITH page AS (
    INSERT INTO front_pages (day, taken) VALUES ((now() AT TIME ZONE 'UTC')::date, 1)
    ON CONFLICT (day) DO UPDATE SET taken = front_pages.taken + 1 WHERE front_pages.taken < 3
    RETURNING day, taken
)
INSERT INTO featured_posts (post_id, author_id, day, slot)
SELECT sqlc.arg(post_id)::bigint, sqlc.arg(author_id)::bigint, page.day, page.taken FROM page
RETURNING slot;

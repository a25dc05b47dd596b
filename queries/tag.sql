-- name: AddTags :execrows
-- AddTags adds those of the tags that there are not, in one order for everybody: two who add
-- the same tags at the same time wait for one another at the first one that they share, and
-- cannot deadlock. Tags that exist are neither changed nor locked, so that nobody waits for
-- the popular ones. It does not return them either: FindTags behind it, in the same round
-- trip, finds those that are new, those that were there, and those that another transaction
-- committed while this statement waited for it.
INSERT INTO tags (name, display_name)
SELECT n.name, n.display_name
FROM (SELECT unnest(sqlc.arg(names)::text[]) AS name, unnest(sqlc.arg(display_names)::text[]) AS display_name) n
ORDER BY n.name COLLATE "C"
ON CONFLICT (name) DO NOTHING;

-- name: FindTags :many
SELECT * FROM tags WHERE name = ANY (sqlc.arg(names)::text[]) ORDER BY id;

-- name: TagPost :execrows
-- TagPost gives a new post its tags.
INSERT INTO post_tags (post_id, tag_id)
SELECT sqlc.arg(post_id)::bigint, unnest(sqlc.arg(tag_ids)::bigint[]);

-- name: ListTagsOfPost :many
SELECT t.* FROM post_tags p JOIN tags t ON t.id = p.tag_id WHERE p.post_id = sqlc.arg(post_id) ORDER BY t.id;

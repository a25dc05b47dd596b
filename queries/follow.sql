-- name: AddFollow :execrows
-- AddFollow makes a user follow an author, if it does not yet. It fails with
-- follows_others_only, follows_author_id_fkey or follows_follower_id_fkey.
INSERT INTO follows (author_id, follower_id) VALUES (sqlc.arg(author_id), sqlc.arg(follower_id))
ON CONFLICT (author_id, follower_id) DO NOTHING;

-- name: RemoveFollow :execrows
DELETE FROM follows WHERE author_id = sqlc.arg(author_id) AND follower_id = sqlc.arg(follower_id);

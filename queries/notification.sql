-- name: NotifyFollowers :execrows
-- NotifyFollowers tells everybody who follows the author of a post of it, however many they
-- are. A second time it fails with notifications_post_id_user_id_key.
INSERT INTO notifications (user_id, post_id, message)
SELECT f.follower_id, p.id, format('%s published "%s"', u.name, p.title)
FROM posts p
JOIN users u ON u.id = p.author_id
JOIN follows f ON f.author_id = p.author_id
WHERE p.id = sqlc.arg(post_id)
ORDER BY f.follower_id;

-- name: ListNotifications :many
-- ListNotifications returns a page of what a user was told, newest first, below an id that an
-- earlier page ended with.
SELECT id, post_id, message, created_at FROM notifications
WHERE user_id = sqlc.arg(user_id) AND id < sqlc.arg(before_id)
ORDER BY id DESC LIMIT sqlc.arg(max_rows);

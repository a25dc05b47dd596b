-- name: Unfollow :exec
DELETE FROM followers WHERE user_id = $1 AND follower_id = $2;

-- name: WaitBriefly :exec
SET lock_timeout = '5s';

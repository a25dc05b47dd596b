-- name: WaitBriefly :exec
SET LOCAL lock_timeout = '5s';

-- name: SetTenant :exec
SELECT set_config('app.tenant', $1, true);

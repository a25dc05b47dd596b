-- name: GetIsolation :one
-- GetIsolation returns the isolation level of the transaction, as SHOW does: for functions
-- that join one which their callers began.
SELECT current_setting('transaction_isolation')::text AS isolation;

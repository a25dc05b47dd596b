-- name: GetUser :one
SELECT * FROM users WHERE id = sqlc.arg(id);

-- name: FindUserByEmail :one
-- FindUserByEmail finds a user whatever the case of the address.
SELECT * FROM users WHERE lower(email) = lower(sqlc.arg(email));

-- name: LockUser :one
-- LockUser locks a user in order to do something once for it. Others may go on inserting
-- rows that refer to it.
SELECT * FROM users WHERE id = sqlc.arg(id) FOR NO KEY UPDATE;

-- name: LockUserOfAccount :one
-- LockUserOfAccount is LockUser for the owner of an account.
SELECT u.* FROM accounts a JOIN users u ON u.id = a.user_id WHERE a.id = sqlc.arg(account_id) FOR NO KEY UPDATE OF u;

-- name: CreateUser :one
-- CreateUser fails with the unique index users_email_key if the address is taken.
INSERT INTO users (email, name) VALUES (sqlc.arg(email), sqlc.arg(name)) RETURNING *;

-- name: CreateProfile :one
INSERT INTO profiles (user_id, display_name) VALUES (sqlc.arg(user_id), sqlc.arg(display_name)) RETURNING *;

-- name: GetProfile :one
SELECT * FROM profiles WHERE user_id = sqlc.arg(user_id);

-- name: CreateSettings :one
-- CreateSettings gives a user the default settings.
INSERT INTO settings (user_id) VALUES (sqlc.arg(user_id)) RETURNING *;

-- name: GetSettings :one
SELECT * FROM settings WHERE user_id = sqlc.arg(user_id);

-- name: FindWelcomeBonus :one
-- FindWelcomeBonus finds the transfer that gave a user the bonus.
SELECT t.* FROM welcome_bonuses b JOIN transfers t ON t.id = b.transfer_id WHERE b.user_id = sqlc.arg(user_id);

-- name: CreateWelcomeBonus :one
-- CreateWelcomeBonus notes that a user got the bonus. The caller holds the user's lock and
-- has seen that there is none; otherwise it may fail with welcome_bonuses_pkey.
INSERT INTO welcome_bonuses (user_id, transfer_id) VALUES (sqlc.arg(user_id), sqlc.arg(transfer_id)) RETURNING *;

-- name: NoteWelcomeBonus :one
-- NoteWelcomeBonus is CreateWelcomeBonus for an account whose only bonus was transferred in
-- this transaction, and whose transfer's id nobody had to wait for. That there is no such
-- transfer is an error.
--
-- @affects one
INSERT INTO welcome_bonuses (user_id, transfer_id)
SELECT a.user_id, t.id FROM accounts a JOIN transfers t ON t.to_account = a.id
WHERE a.id = sqlc.arg(account_id) AND t.kind = 'welcome_bonus'
RETURNING *;

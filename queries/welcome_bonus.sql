-- name: FindWelcomeBonusOfAccount :one
-- FindWelcomeBonusOfAccount finds the transfer that gave the owner of an account the bonus, to
-- this account or another.
SELECT t.* FROM accounts a JOIN welcome_bonuses b ON b.user_id = a.user_id JOIN transfers t ON t.id = b.transfer_id
WHERE a.id = sqlc.arg(account_id);

-- name: NoteWelcomeBonus :one
-- NoteWelcomeBonus notes that the owner of an account got the bonus, by the transfer to the
-- account whose id nobody had to wait for. That there is no such transfer is an error. The
-- caller holds the user's lock and has seen that it has had none; otherwise it may fail with
-- welcome_bonuses_pkey.
--
-- @affects one
INSERT INTO welcome_bonuses (user_id, transfer_id)
SELECT a.user_id, t.id FROM accounts a JOIN transfers t ON t.to_account = a.id
WHERE a.id = sqlc.arg(account_id) AND t.kind = 'welcome_bonus'
RETURNING *;

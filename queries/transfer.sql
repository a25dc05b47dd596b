-- name: GetTransfer :one
SELECT * FROM transfers WHERE id = sqlc.arg(id);

-- name: FindTransferByKey :one
-- FindTransferByKey finds what a request with this key did.
SELECT * FROM transfers WHERE idempotency_key = sqlc.arg(idempotency_key)::text;

-- name: RecordTransfer :one
-- RecordTransfer moves money: it writes the transfer and its two ledger entries, and changes
-- the balances of those of the two accounts that are customers'. No row, and nothing was
-- done: a transfer with this key exists.
--
-- The caller holds the locks of the customers' accounts (LockAccounts), and has looked at
-- funds and status under them. Should one of the balances not have changed all the same, the
-- statement fails, with cardinal_number_domain_check: so it can travel with COMMIT.
-- @allow lock-order the caller holds the locks of both accounts, and took them in the order of their ids
WITH moved AS (
    INSERT INTO transfers (kind, idempotency_key, from_account, to_account, amount_minor, memo)
    VALUES (sqlc.arg(kind), sqlc.narg(idempotency_key), sqlc.arg(from_account), sqlc.arg(to_account),
            sqlc.arg(amount_minor), sqlc.arg(memo))
    ON CONFLICT (idempotency_key) DO NOTHING
    RETURNING *
), entered AS (
    INSERT INTO ledger_entries (transfer_id, account_id, amount_minor)
    SELECT moved.id, moved.from_account, -moved.amount_minor FROM moved
    UNION ALL
    SELECT moved.id, moved.to_account, moved.amount_minor FROM moved
), changed AS (
    UPDATE accounts
    SET balance_minor = accounts.balance_minor
            + CASE accounts.id WHEN moved.to_account THEN moved.amount_minor ELSE -moved.amount_minor END,
        version = accounts.version + 1
    FROM moved
    WHERE accounts.id IN (moved.from_account, moved.to_account) AND accounts.kind = 'customer'
    RETURNING accounts.id
)
SELECT moved.id, moved.created_at FROM moved
WHERE CASE (SELECT count(*) FROM changed)
    WHEN (moved.from_kind = 'customer')::int + (moved.to_kind = 'customer')::int THEN true
    ELSE (-1)::information_schema.cardinal_number = 0 -- a value that its domain does not allow
END;

-- name: ListEntries :many
-- ListEntries returns a page of an account's ledger, newest first, below an id that an
-- earlier page ended with.
SELECT e.id, e.transfer_id, e.amount_minor, t.kind, t.memo, t.created_at,
       CASE WHEN t.from_account = e.account_id THEN t.to_account ELSE t.from_account END::bigint AS other_account
FROM ledger_entries e JOIN transfers t ON t.id = e.transfer_id
WHERE e.account_id = sqlc.arg(account_id) AND e.id < sqlc.arg(before_id)
ORDER BY e.id DESC LIMIT sqlc.arg(max_rows);

-- name: SumEntries :one
-- SumEntries adds up an account's ledger. For a system account this is its balance.
SELECT coalesce(sum(amount_minor), 0)::bigint AS total FROM ledger_entries WHERE account_id = sqlc.arg(account_id);

-- +goose Up
CREATE TYPE transfer_kind AS ENUM ('transfer', 'deposit', 'withdrawal', 'welcome_bonus');

CREATE TABLE transfers (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    kind            transfer_kind NOT NULL,
    idempotency_key text,
    from_account    bigint        NOT NULL,
    to_account      bigint        NOT NULL,
    amount_minor    bigint        NOT NULL,
    memo            text          NOT NULL DEFAULT '',
    created_at      timestamptz   NOT NULL DEFAULT now(),
    -- The kinds of account that a transfer of this kind goes between, for the foreign keys.
    from_kind       account_kind  NOT NULL GENERATED ALWAYS AS
        (CASE WHEN kind IN ('deposit', 'welcome_bonus') THEN 'system'::account_kind ELSE 'customer'::account_kind END) STORED,
    to_kind         account_kind  NOT NULL GENERATED ALWAYS AS
        (CASE WHEN kind = 'withdrawal' THEN 'system'::account_kind ELSE 'customer'::account_kind END) STORED,
    CONSTRAINT transfers_pkey PRIMARY KEY (id),
    CONSTRAINT transfers_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT transfers_from_account_fkey FOREIGN KEY (from_account, from_kind) REFERENCES accounts (id, kind),
    CONSTRAINT transfers_to_account_fkey FOREIGN KEY (to_account, to_kind) REFERENCES accounts (id, kind),
    -- A welcome bonus has no request of its own: table welcome_bonuses keeps it single.
    CONSTRAINT transfers_idempotency_key_required CHECK ((kind = 'welcome_bonus') = (idempotency_key IS NULL)),
    CONSTRAINT transfers_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT transfers_amount_positive CHECK (amount_minor > 0),
    CONSTRAINT transfers_accounts_differ CHECK (from_account <> to_account),
    CONSTRAINT transfers_memo_length CHECK (length(memo) <= 500)
);
CREATE INDEX transfers_from_account_idx ON transfers (from_account, id);
CREATE INDEX transfers_to_account_idx ON transfers (to_account, id);

COMMENT ON TABLE transfers IS 'Each movement of money, once. Its two sides are in ledger_entries. Rows are never changed.';
COMMENT ON COLUMN transfers.idempotency_key IS
    'Chosen by whoever asked: the same request sent again finds this row and moves nothing. Null for welcome bonuses.';
COMMENT ON COLUMN transfers.from_kind IS 'Derived from kind; makes the foreign key demand an account of the right kind.';
COMMENT ON COLUMN transfers.to_kind IS 'Derived from kind; makes the foreign key demand an account of the right kind.';

-- refuse_change makes a table append-only. The error names a constraint, as for those that
-- the server checks by itself.
-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on table "%" is refused: its rows are facts, add another one that corrects them', tg_op, tg_table_name
        USING ERRCODE = 'restrict_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name,
              CONSTRAINT = tg_table_name || '_append_only';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER transfers_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE transfers;
DROP FUNCTION refuse_change();
DROP TYPE transfer_kind;

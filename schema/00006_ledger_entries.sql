-- +goose Up
CREATE TABLE ledger_entries (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    transfer_id  bigint      NOT NULL,
    account_id   bigint      NOT NULL,
    amount_minor bigint      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ledger_entries_pkey PRIMARY KEY (id),
    CONSTRAINT ledger_entries_transfer_id_account_id_key UNIQUE (transfer_id, account_id),
    CONSTRAINT ledger_entries_transfer_id_fkey FOREIGN KEY (transfer_id) REFERENCES transfers (id),
    CONSTRAINT ledger_entries_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
    CONSTRAINT ledger_entries_amount_not_zero CHECK (amount_minor <> 0)
);
CREATE INDEX ledger_entries_account_id_idx ON ledger_entries (account_id, id);

COMMENT ON TABLE ledger_entries IS 'Double entry: what each transfer did to each of its two accounts. Rows are never changed.';
COMMENT ON COLUMN ledger_entries.id IS
    'Grows with time within a customer''s account, because entries are made under the account''s lock. Between accounts it says nothing.';
COMMENT ON COLUMN ledger_entries.amount_minor IS 'Positive: the account got it. Negative: the account gave it.';

CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- transfer_entries_match demands that a transfer has exactly the two entries that it says:
-- then they sum to zero. It is asked at COMMIT, since the three rows come one after another.
-- +goose StatementBegin
CREATE FUNCTION transfer_entries_match() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    transfer bigint;
    matching bigint;
    entries  bigint;
BEGIN
    IF tg_table_name = 'transfers' THEN
        transfer := new.id;
    ELSE
        transfer := new.transfer_id;
    END IF;
    SELECT count(*),
           count(*) FILTER (WHERE (e.account_id = t.from_account AND e.amount_minor = -t.amount_minor)
                               OR (e.account_id = t.to_account AND e.amount_minor = t.amount_minor))
    INTO entries, matching
    FROM transfers t JOIN ledger_entries e ON e.transfer_id = t.id
    WHERE t.id = transfer;
    IF entries <> 2 OR matching <> 2 THEN
        RAISE EXCEPTION 'transfer % has % ledger entries, % of them as the transfer says; two are needed', transfer, entries, matching
            USING ERRCODE = 'check_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name, CONSTRAINT = tg_name;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE CONSTRAINT TRIGGER transfers_entries_match AFTER INSERT ON transfers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION transfer_entries_match();
CREATE CONSTRAINT TRIGGER ledger_entries_match_transfer AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION transfer_entries_match();

-- +goose Down
DROP TRIGGER transfers_entries_match ON transfers;
DROP TABLE ledger_entries;
DROP FUNCTION transfer_entries_match();

-- +goose Up
CREATE TABLE balance_certificates (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    idempotency_key text         NOT NULL,
    account_id      bigint       NOT NULL,
    at_least_minor  bigint       NOT NULL,
    balance_minor   bigint       NOT NULL,
    last_entry_id   bigint,
    created_at      timestamptz  NOT NULL DEFAULT now(),
    -- The kind of account, for the foreign key.
    account_kind    account_kind NOT NULL GENERATED ALWAYS AS ('customer'::account_kind) STORED,
    CONSTRAINT balance_certificates_pkey PRIMARY KEY (id),
    CONSTRAINT balance_certificates_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT balance_certificates_account_id_fkey FOREIGN KEY (account_id, account_kind) REFERENCES accounts (id, kind),
    CONSTRAINT balance_certificates_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT balance_certificates_at_least_not_negative CHECK (at_least_minor >= 0),
    CONSTRAINT balance_certificates_balance_suffices CHECK (balance_minor >= at_least_minor),
    CONSTRAINT balance_certificates_last_entry_required CHECK (balance_minor = 0 OR last_entry_id IS NOT NULL)
);
CREATE INDEX balance_certificates_account_id_idx ON balance_certificates (account_id, id);

COMMENT ON TABLE balance_certificates IS
    'What customers had confirmed to others: that an account held at least so much. True at the moment of COMMIT, since the account was kept FOR SHARE until then. Rows are never changed.';
COMMENT ON COLUMN balance_certificates.idempotency_key IS
    'Chosen by whoever asked: the same request sent again finds this row.';
COMMENT ON COLUMN balance_certificates.balance_minor IS 'What the account held.';
COMMENT ON COLUMN balance_certificates.last_entry_id IS
    'The newest ledger entry that the balance includes; null for an account without any. Not a foreign key: entries cannot be deleted.';
COMMENT ON COLUMN balance_certificates.account_kind IS 'Makes the foreign key demand a customer''s account.';

CREATE TRIGGER balance_certificates_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON balance_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE balance_certificates;

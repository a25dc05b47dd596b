-- +goose Up
CREATE TYPE account_kind AS ENUM ('customer', 'system');
CREATE TYPE account_status AS ENUM ('open', 'frozen', 'closed');

CREATE TABLE accounts (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    kind          account_kind   NOT NULL DEFAULT 'customer',
    user_id       bigint,
    code          text,
    status        account_status NOT NULL DEFAULT 'open',
    balance_minor bigint         NOT NULL DEFAULT 0,
    version       bigint         NOT NULL DEFAULT 1,
    created_at    timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT accounts_pkey PRIMARY KEY (id),
    -- So that a foreign key can demand the kind too.
    CONSTRAINT accounts_id_kind_key UNIQUE (id, kind),
    CONSTRAINT accounts_code_key UNIQUE (code),
    CONSTRAINT accounts_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT accounts_customer_has_user CHECK ((kind = 'customer') = (user_id IS NOT NULL)),
    CONSTRAINT accounts_system_has_code CHECK ((kind = 'system') = (code IS NOT NULL)),
    CONSTRAINT accounts_code_length CHECK (length(code) BETWEEN 1 AND 50),
    CONSTRAINT accounts_balance_not_negative CHECK (balance_minor >= 0),
    CONSTRAINT accounts_system_has_no_balance CHECK (kind = 'customer' OR balance_minor = 0),
    CONSTRAINT accounts_system_is_open CHECK (kind = 'customer' OR status = 'open'),
    CONSTRAINT accounts_closed_is_empty CHECK (status <> 'closed' OR balance_minor = 0),
    CONSTRAINT accounts_version_positive CHECK (version > 0)
);
CREATE INDEX accounts_user_id_idx ON accounts (user_id);

COMMENT ON TABLE accounts IS 'Where money is: of customers, and of the system as the other side of what enters and leaves.';
COMMENT ON COLUMN accounts.user_id IS 'The owner of a customer''s account; null for the system''s.';
COMMENT ON COLUMN accounts.code IS 'The stable name of a system account; null for customers.';
COMMENT ON COLUMN accounts.status IS 'Money moves only to and from open accounts. A closed one is empty.';
COMMENT ON COLUMN accounts.balance_minor IS
    'In minor units; the sum of the account''s ledger entries. Always 0 for system accounts: a running balance there would be one row that every deposit waits for. Sum their entries instead.';
COMMENT ON COLUMN accounts.version IS 'Grows by one with every change of the row, for optimistic updates.';

INSERT INTO accounts (kind, code) VALUES
    ('system', 'external'), -- the world: deposits come from it, withdrawals go to it
    ('system', 'bonus');    -- pays the welcome bonuses

-- +goose Down
DROP TABLE accounts;
DROP TYPE account_status;
DROP TYPE account_kind;

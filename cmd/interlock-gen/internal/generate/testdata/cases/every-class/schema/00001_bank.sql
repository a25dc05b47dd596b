-- +goose Up
CREATE TYPE account_status AS ENUM ('open', 'closed');
CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    balance_minor bigint NOT NULL CHECK (balance_minor >= 0),
    status account_status NOT NULL DEFAULT 'open'
);
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    note text
);
-- +goose StatementBegin
CREATE FUNCTION audit_all() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (account_id, note) SELECT id, 'all' FROM accounts;
    RETURN 1;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION audit_all;
DROP TABLE audit;
DROP TABLE accounts;
DROP TYPE account_status;

CREATE TABLE accounts (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner   text   NOT NULL,
    balance bigint NOT NULL CHECK (balance >= 0)
);

CREATE TABLE transfers (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payer   bigint      NOT NULL REFERENCES accounts,
    payee   bigint      NOT NULL REFERENCES accounts,
    amount  bigint      NOT NULL CHECK (amount > 0),
    made_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON transfers (payer);
CREATE INDEX ON transfers (payee);

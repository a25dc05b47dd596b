-- +goose Up
CREATE TABLE products (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    name        text        NOT NULL,
    active      boolean     NOT NULL DEFAULT true,
    price_minor bigint      NOT NULL,
    received    bigint      NOT NULL DEFAULT 0,
    stock       bigint      NOT NULL DEFAULT 0,
    version     bigint      NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT products_pkey PRIMARY KEY (id),
    CONSTRAINT products_name_length CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT products_price_not_negative CHECK (price_minor >= 0),
    CONSTRAINT products_stock_not_negative CHECK (stock >= 0),
    -- What comes back was given out before: to give back twice is refused at the latest here.
    CONSTRAINT products_stock_was_received CHECK (stock <= received),
    CONSTRAINT products_version_positive CHECK (version > 0)
);

COMMENT ON TABLE products IS 'What can be ordered.';
COMMENT ON COLUMN products.active IS 'False for a product that cannot be ordered any more; the row stays, because orders refer to it.';
COMMENT ON COLUMN products.price_minor IS 'Of one unit, from now on. What an order paid is in its items.';
COMMENT ON COLUMN products.received IS 'Units that were ever put into stock.';
COMMENT ON COLUMN products.stock IS
    'Units that can be ordered now: those received, without those that orders hold (all whose stock_returned is false) or that are reserved.';
COMMENT ON COLUMN products.version IS 'Grows by one with every change of the row, for optimistic updates.';

-- +goose Down
DROP TABLE products;

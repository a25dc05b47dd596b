-- +goose Up
CREATE TYPE order_status AS ENUM ('pending', 'confirmed', 'paid', 'shipped', 'cancelled', 'refunded');
CREATE TYPE payment_method AS ENUM ('card', 'bank_transfer', 'wallet');

CREATE TABLE orders (
    id               bigint GENERATED ALWAYS AS IDENTITY,
    user_id          bigint         NOT NULL,
    idempotency_key  text           NOT NULL,
    request_digest   bytea          NOT NULL,
    status           order_status   NOT NULL DEFAULT 'pending',
    subtotal_minor   bigint         NOT NULL,
    discount_minor   bigint         NOT NULL DEFAULT 0,
    total_minor      bigint         NOT NULL,
    shipping_address jsonb          NOT NULL,
    payment_method   payment_method NOT NULL,
    note             text           NOT NULL DEFAULT '',
    stock_returned   boolean        NOT NULL DEFAULT false,
    version          bigint         NOT NULL DEFAULT 1,
    created_at       timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT orders_pkey PRIMARY KEY (id),
    -- For foreign keys that demand the owner and the amount too. That makes both parts of a key:
    -- FOR KEY SHARE keeps them as they are.
    CONSTRAINT orders_id_user_id_total_minor_key UNIQUE (id, user_id, total_minor),
    CONSTRAINT orders_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT orders_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT orders_request_digest_length CHECK (length(request_digest) = 32),
    -- Nor is the subtotal negative, then.
    CONSTRAINT orders_discount_within_subtotal CHECK (discount_minor BETWEEN 0 AND subtotal_minor),
    CONSTRAINT orders_total_adds_up CHECK (total_minor = subtotal_minor - discount_minor),
    CONSTRAINT orders_shipping_address_complete CHECK
        (jsonb_typeof(shipping_address) = 'object' AND shipping_address ?& ARRAY['name', 'street', 'city', 'country']),
    CONSTRAINT orders_shipping_address_length CHECK (length(shipping_address::text) <= 4000),
    CONSTRAINT orders_note_length CHECK (length(note) <= 500),
    CONSTRAINT orders_cancelled_returns_stock CHECK (status <> 'cancelled' OR stock_returned),
    CONSTRAINT orders_stock_returned_by_end CHECK (NOT stock_returned OR status IN ('cancelled', 'refunded')),
    CONSTRAINT orders_version_positive CHECK (version > 0)
);
CREATE INDEX orders_user_id_idx ON orders (user_id, id);

COMMENT ON TABLE orders IS 'What users ordered. What is in an order, and what it costs, is never changed; its status is.';
COMMENT ON COLUMN orders.idempotency_key IS
    'Chosen by whoever asked: the same request sent again finds this row and orders nothing.';
COMMENT ON COLUMN orders.request_digest IS
    'SHA-256 of the request, to tell a repeated one from another one with its key: address and note may have been changed since.';
COMMENT ON COLUMN orders.status IS
    'pending: placed, not paid. confirmed: accepted, goods and payment are secured. paid, shipped: what they say. cancelled: ended before it was paid for good. refunded: ended, the money went back.';
COMMENT ON COLUMN orders.total_minor IS 'What is to be paid: the items'' total without the discount.';
COMMENT ON COLUMN orders.stock_returned IS
    'Whether the goods are in stock again: always for a cancelled order; for a refunded one if it had not been shipped, or the goods came back.';
COMMENT ON COLUMN orders.version IS 'Grows by one with every change of the row, for optimistic updates.';

-- order_may_become holds the statuses that may follow one another. Nothing follows cancelled
-- and refunded.
-- +goose StatementBegin
CREATE FUNCTION order_may_become(from_status order_status, to_status order_status) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE from_status
        WHEN 'pending' THEN to_status IN ('confirmed', 'paid', 'cancelled')
        WHEN 'confirmed' THEN to_status IN ('paid', 'shipped', 'cancelled', 'refunded')
        WHEN 'paid' THEN to_status IN ('shipped', 'refunded')
        WHEN 'shipped' THEN to_status = 'refunded'
        ELSE false
    END
$$;
-- +goose StatementEnd

-- refuse_order_status is called for what order_may_become does not allow, and for orders that
-- would begin in the middle.
-- +goose StatementBegin
CREATE FUNCTION refuse_order_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % cannot become %', new.id, new.status
        USING ERRCODE = 'check_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name, CONSTRAINT = tg_name;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER orders_status_at_first BEFORE INSERT ON orders
    FOR EACH ROW WHEN (new.status NOT IN ('pending', 'confirmed')) EXECUTE FUNCTION refuse_order_status();
CREATE TRIGGER orders_status_follows BEFORE UPDATE ON orders
    FOR EACH ROW WHEN (old.status <> new.status AND NOT order_may_become(old.status, new.status))
    EXECUTE FUNCTION refuse_order_status();

CREATE TABLE customer_counters (
    user_id bigint NOT NULL,
    orders  bigint NOT NULL DEFAULT 0,
    CONSTRAINT customer_counters_pkey PRIMARY KEY (user_id),
    CONSTRAINT customer_counters_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT customer_counters_orders_not_negative CHECK (orders >= 0)
);

COMMENT ON TABLE customer_counters IS 'How much a user did here, so that nobody has to count: a row a user, from the first order on.';
COMMENT ON COLUMN customer_counters.orders IS 'Orders that the user ever made, whatever became of them.';

-- +goose Down
DROP TABLE customer_counters;
DROP TABLE orders;
DROP FUNCTION refuse_order_status();
DROP FUNCTION order_may_become(order_status, order_status);
DROP TYPE payment_method;
DROP TYPE order_status;

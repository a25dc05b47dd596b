-- +goose Up
CREATE TYPE reservation_status AS ENUM ('active', 'confirmed', 'released', 'expired');

CREATE TABLE inventory_reservations (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    user_id         bigint             NOT NULL,
    idempotency_key text               NOT NULL,
    status          reservation_status NOT NULL DEFAULT 'active',
    total_minor     bigint             NOT NULL,
    order_id        bigint,
    expires_at      timestamptz        NOT NULL,
    closed_at       timestamptz,
    created_at      timestamptz        NOT NULL DEFAULT now(),
    CONSTRAINT inventory_reservations_pkey PRIMARY KEY (id),
    -- For foreign keys that demand the owner and the amount too.
    CONSTRAINT inventory_reservations_id_user_id_total_minor_key UNIQUE (id, user_id, total_minor),
    CONSTRAINT inventory_reservations_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT inventory_reservations_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    -- What was reserved is ordered by the same user, for the price that was named.
    CONSTRAINT inventory_reservations_order_id_fkey FOREIGN KEY (order_id, user_id, total_minor) REFERENCES orders (id, user_id, total_minor),
    CONSTRAINT inventory_reservations_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT inventory_reservations_total_not_negative CHECK (total_minor >= 0),
    CONSTRAINT inventory_reservations_confirmed_by_order CHECK ((status = 'confirmed') = (order_id IS NOT NULL)),
    CONSTRAINT inventory_reservations_closed_at_end CHECK ((status = 'active') = (closed_at IS NULL)),
    CONSTRAINT inventory_reservations_expires_later CHECK (expires_at > created_at)
);
-- An order has one reservation. With its WHERE the index makes no key of the column, so that
-- whoever confirms locks the row FOR NO KEY UPDATE, and not FOR UPDATE.
CREATE UNIQUE INDEX inventory_reservations_order_id_key ON inventory_reservations (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX inventory_reservations_order_id_idx ON inventory_reservations (order_id, user_id, total_minor);
CREATE INDEX inventory_reservations_user_id_idx ON inventory_reservations (user_id, id);
CREATE INDEX inventory_reservations_expires_at_idx ON inventory_reservations (expires_at, id) WHERE status = 'active';

COMMENT ON TABLE inventory_reservations IS 'Goods that are kept for somebody who is about to pay: they are out of the stock while the reservation is active.';
COMMENT ON COLUMN inventory_reservations.idempotency_key IS
    'Chosen by whoever asked: the same request sent again finds this row and reserves nothing.';
COMMENT ON COLUMN inventory_reservations.status IS
    'active: the goods are kept. confirmed: an order has them. released, expired: they went back into stock, because somebody asked or because nobody paid in time.';
COMMENT ON COLUMN inventory_reservations.total_minor IS 'What the items cost when they were reserved, and will cost in the order.';
COMMENT ON COLUMN inventory_reservations.order_id IS 'The order that came of it: there is one exactly for a confirmed reservation.';
COMMENT ON COLUMN inventory_reservations.expires_at IS 'When the goods may go back. Until that is done the reservation is active.';
COMMENT ON COLUMN inventory_reservations.closed_at IS 'When it ceased to be active.';

-- A reservation ends once: nothing follows confirmed, released and expired.
-- +goose StatementBegin
CREATE FUNCTION refuse_reservation_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'reservation % is % and cannot be changed', old.id, old.status
        USING ERRCODE = 'check_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name, CONSTRAINT = tg_name;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER inventory_reservations_end_once BEFORE UPDATE ON inventory_reservations
    FOR EACH ROW WHEN (old.status <> 'active') EXECUTE FUNCTION refuse_reservation_change();

CREATE TABLE reservation_items (
    reservation_id   bigint NOT NULL,
    product_id       bigint NOT NULL,
    product_name     text   NOT NULL,
    quantity         bigint NOT NULL,
    unit_price_minor bigint NOT NULL,
    CONSTRAINT reservation_items_pkey PRIMARY KEY (reservation_id, product_id),
    CONSTRAINT reservation_items_reservation_id_fkey FOREIGN KEY (reservation_id) REFERENCES inventory_reservations (id),
    CONSTRAINT reservation_items_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (id),
    CONSTRAINT reservation_items_product_name_length CHECK (length(product_name) BETWEEN 1 AND 200),
    CONSTRAINT reservation_items_quantity_positive CHECK (quantity > 0),
    CONSTRAINT reservation_items_unit_price_not_negative CHECK (unit_price_minor >= 0)
);
CREATE INDEX reservation_items_product_id_idx ON reservation_items (product_id);

COMMENT ON TABLE reservation_items IS 'What is in a reservation, with name and price as they were then; a product once. Rows are never changed.';

CREATE TRIGGER reservation_items_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reservation_items
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE reservation_items;
DROP TABLE inventory_reservations;
DROP FUNCTION refuse_reservation_change();
DROP TYPE reservation_status;

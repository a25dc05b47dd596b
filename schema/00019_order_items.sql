-- +goose Up
CREATE TABLE order_items (
    order_id         bigint NOT NULL,
    product_id       bigint NOT NULL,
    product_name     text   NOT NULL,
    quantity         bigint NOT NULL,
    unit_price_minor bigint NOT NULL,
    total_minor      bigint NOT NULL GENERATED ALWAYS AS (quantity * unit_price_minor) STORED,
    CONSTRAINT order_items_pkey PRIMARY KEY (order_id, product_id),
    CONSTRAINT order_items_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT order_items_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (id),
    CONSTRAINT order_items_product_name_length CHECK (length(product_name) BETWEEN 1 AND 200),
    CONSTRAINT order_items_quantity_positive CHECK (quantity > 0),
    CONSTRAINT order_items_unit_price_not_negative CHECK (unit_price_minor >= 0)
);
CREATE INDEX order_items_product_id_idx ON order_items (product_id);

COMMENT ON TABLE order_items IS 'What is in an order, with name and price as they were then; a product once. Rows are never changed.';

CREATE TRIGGER order_items_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON order_items
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- order_items_add_up demands that an order has items, and that they come to its subtotal. It is
-- asked at COMMIT, since the rows come one after another.
-- +goose StatementBegin
CREATE FUNCTION order_items_add_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    asked    bigint;
    subtotal bigint;
    items    numeric;
BEGIN
    IF tg_table_name = 'orders' THEN
        asked := new.id;
    ELSE
        asked := new.order_id;
    END IF;
    SELECT o.subtotal_minor, (SELECT sum(i.total_minor) FROM order_items i WHERE i.order_id = o.id)
    INTO subtotal, items
    FROM orders o WHERE o.id = asked;
    IF items IS DISTINCT FROM subtotal THEN
        RAISE EXCEPTION 'order % has items of %, and says %', asked, coalesce(items::text, 'nothing'), subtotal
            USING ERRCODE = 'check_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name, CONSTRAINT = tg_name;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE CONSTRAINT TRIGGER orders_items_add_up AFTER INSERT OR UPDATE OF subtotal_minor ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION order_items_add_up();
CREATE CONSTRAINT TRIGGER order_items_belong AFTER INSERT ON order_items
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION order_items_add_up();

-- +goose Down
DROP TRIGGER orders_items_add_up ON orders;
DROP TABLE order_items;
DROP FUNCTION order_items_add_up();

-- +goose Up
-- An order has one payment, as before. With its WHERE the index makes no key of the column, so
-- that whoever sets it later locks the row FOR NO KEY UPDATE, and not FOR UPDATE.
ALTER TABLE payments DROP CONSTRAINT payments_order_id_key;
CREATE UNIQUE INDEX payments_order_id_key ON payments (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX payments_order_id_idx ON payments (order_id, user_id, amount_minor);

ALTER TABLE payments
    ADD COLUMN reservation_id   bigint,
    ADD COLUMN asked_at         timestamptz,
    ADD COLUMN charge_reference text,
    ADD COLUMN decline_code     text,
    -- It travels in a header, where spaces at the ends get lost, and two keys become one.
    ADD CONSTRAINT payments_provider_key_printable CHECK (provider_key COLLATE "C" ~ '^[!-~]([ -~]*[!-~])?$'),
    -- For the foreign key of refunds, which demands the amount too.
    ADD CONSTRAINT payments_id_amount_minor_key UNIQUE (id, amount_minor),
    -- Who pays, and how much, is what the reservation says.
    ADD CONSTRAINT payments_reservation_id_fkey FOREIGN KEY (reservation_id, user_id, amount_minor)
        REFERENCES inventory_reservations (id, user_id, total_minor),
    ADD CONSTRAINT payments_purpose CHECK (order_id IS NOT NULL OR reservation_id IS NOT NULL),
    ADD CONSTRAINT payments_charge_reference_length CHECK (length(charge_reference) BETWEEN 1 AND 200),
    ADD CONSTRAINT payments_decline_code_length CHECK (length(decline_code) BETWEEN 1 AND 100),
    ADD CONSTRAINT payments_charged_by_reference CHECK
        ((status IN ('completed', 'refunding', 'refunded')) = (charge_reference IS NOT NULL)),
    ADD CONSTRAINT payments_failed_by_code CHECK ((status = 'failed') = (decline_code IS NOT NULL)),
    -- What was asked of the provider may have been done: it cannot be given up.
    ADD CONSTRAINT payments_cancelled_unasked CHECK (status <> 'cancelled' OR asked_at IS NULL),
    ADD CONSTRAINT payments_charged_when_asked CHECK (charge_reference IS NULL OR asked_at IS NOT NULL);
CREATE INDEX payments_reservation_id_idx ON payments (reservation_id, id);
-- A reservation is paid once, however many keys the requests have.
CREATE UNIQUE INDEX payments_reservation_id_key ON payments (reservation_id) WHERE status NOT IN ('failed', 'cancelled');
-- A charge pays for one thing, whatever the provider makes of the keys. What costs nothing is no charge.
CREATE UNIQUE INDEX payments_charge_reference_key ON payments (charge_reference) WHERE amount_minor > 0;
CREATE INDEX payments_pending_idx ON payments (created_at, id) WHERE status = 'pending';

COMMENT ON COLUMN payments.reservation_id IS 'The reservation that is paid, for payments that come before their order.';
COMMENT ON COLUMN payments.asked_at IS 'When the provider was asked first. From then on only the provider knows whether it has charged.';
COMMENT ON COLUMN payments.charge_reference IS 'The provider''s name for the charge.';
COMMENT ON COLUMN payments.decline_code IS 'Why the provider declined, as it says.';

-- payment_may_become holds the statuses that may follow one another: a result that comes late,
-- or twice, changes nothing.
-- +goose StatementBegin
CREATE FUNCTION payment_may_become(from_status payment_status, to_status payment_status) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE from_status
        WHEN 'pending' THEN to_status IN ('completed', 'failed', 'cancelled', 'refunding')
        WHEN 'completed' THEN to_status = 'refunding'
        WHEN 'refunding' THEN to_status = 'refunded'
        ELSE false
    END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION refuse_payment_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payment % cannot become %', new.id, new.status
        USING ERRCODE = 'check_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name, CONSTRAINT = tg_name;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER payments_status_follows BEFORE UPDATE ON payments
    FOR EACH ROW WHEN (old.status <> new.status AND NOT payment_may_become(old.status, new.status))
    EXECUTE FUNCTION refuse_payment_status();

-- +goose Down
DROP TRIGGER payments_status_follows ON payments;
DROP FUNCTION refuse_payment_status();
DROP FUNCTION payment_may_become(payment_status, payment_status);
DROP INDEX payments_pending_idx;
DROP INDEX payments_reservation_id_key;
ALTER TABLE payments
    DROP COLUMN reservation_id,
    DROP COLUMN charge_reference,
    DROP COLUMN decline_code,
    DROP COLUMN asked_at,
    DROP CONSTRAINT payments_provider_key_printable,
    DROP CONSTRAINT payments_id_amount_minor_key;
DROP INDEX payments_order_id_idx;
DROP INDEX payments_order_id_key;
ALTER TABLE payments ADD CONSTRAINT payments_order_id_key UNIQUE (order_id);

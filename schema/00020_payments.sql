-- +goose Up
CREATE TYPE payment_status AS ENUM ('pending', 'completed', 'failed', 'cancelled', 'refunding', 'refunded');

CREATE TABLE payments (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    order_id     bigint,
    user_id      bigint         NOT NULL,
    amount_minor bigint         NOT NULL,
    method       payment_method NOT NULL,
    status       payment_status NOT NULL DEFAULT 'pending',
    provider_key text           NOT NULL,
    created_at   timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT payments_pkey PRIMARY KEY (id),
    CONSTRAINT payments_order_id_key UNIQUE (order_id),
    CONSTRAINT payments_provider_key_key UNIQUE (provider_key),
    CONSTRAINT payments_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    -- Who pays, and how much, is what the order says.
    CONSTRAINT payments_order_id_fkey FOREIGN KEY (order_id, user_id, amount_minor) REFERENCES orders (id, user_id, total_minor),
    CONSTRAINT payments_amount_not_negative CHECK (amount_minor >= 0),
    CONSTRAINT payments_provider_key_length CHECK (length(provider_key) BETWEEN 1 AND 200)
);
CREATE INDEX payments_user_id_idx ON payments (user_id, id);

COMMENT ON TABLE payments IS
    'What is to be paid, and what came of it. The row is there before the provider is asked, so that no charge is without one.';
COMMENT ON COLUMN payments.order_id IS 'The order that is paid; null while it is being made, for payments that come before their order.';
COMMENT ON COLUMN payments.status IS
    'pending: intended, or asked of the provider without an answer yet. cancelled: given up before anything was charged. refunding: to go back, without an answer yet.';
COMMENT ON COLUMN payments.provider_key IS
    'Sent to the provider with every request for this payment, so that one which is repeated charges once.';

-- +goose Down
DROP TABLE payments;
DROP TYPE payment_status;

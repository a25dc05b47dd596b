-- +goose Up
CREATE TYPE refund_status AS ENUM ('pending', 'completed', 'failed');

CREATE TABLE refunds (
    id               bigint GENERATED ALWAYS AS IDENTITY,
    payment_id       bigint        NOT NULL,
    amount_minor     bigint        NOT NULL,
    status           refund_status NOT NULL DEFAULT 'pending',
    reason           text          NOT NULL,
    provider_key     text          NOT NULL,
    asked_at         timestamptz,
    refund_reference text,
    decline_code     text,
    created_at       timestamptz   NOT NULL DEFAULT now(),
    CONSTRAINT refunds_pkey PRIMARY KEY (id),
    CONSTRAINT refunds_provider_key_key UNIQUE (provider_key),
    -- The whole of it, no more and no less.
    CONSTRAINT refunds_payment_id_fkey FOREIGN KEY (payment_id, amount_minor) REFERENCES payments (id, amount_minor),
    CONSTRAINT refunds_reason_length CHECK (length(reason) BETWEEN 1 AND 500),
    CONSTRAINT refunds_provider_key_length CHECK (length(provider_key) BETWEEN 1 AND 200),
    CONSTRAINT refunds_refund_reference_length CHECK (length(refund_reference) BETWEEN 1 AND 200),
    CONSTRAINT refunds_decline_code_length CHECK (length(decline_code) BETWEEN 1 AND 100),
    CONSTRAINT refunds_completed_by_reference CHECK ((status = 'completed') = (refund_reference IS NOT NULL)),
    CONSTRAINT refunds_failed_by_code CHECK ((status = 'failed') = (decline_code IS NOT NULL))
);
CREATE INDEX refunds_payment_id_idx ON refunds (payment_id, id);
-- Money goes back once. Only what the provider declined may be asked for again.
CREATE UNIQUE INDEX refunds_payment_id_key ON refunds (payment_id) WHERE status <> 'failed';
-- What the provider gave back once is one refund.
CREATE UNIQUE INDEX refunds_refund_reference_key ON refunds (refund_reference) WHERE amount_minor > 0;
-- Those that somebody may have to look into (ListUnsettledRefunds), among all that went back.
CREATE INDEX refunds_unsettled_idx ON refunds (id) WHERE status <> 'completed';

COMMENT ON TABLE refunds IS 'Money that is to go back, and what came of it. The row is there before the provider is asked.';
COMMENT ON COLUMN refunds.provider_key IS
    'Sent to the provider with every request for this refund, so that one which is repeated gives back once.';
COMMENT ON COLUMN refunds.asked_at IS 'When the provider was asked first.';
COMMENT ON COLUMN refunds.refund_reference IS 'The provider''s name for the refund.';
COMMENT ON COLUMN refunds.decline_code IS 'Why the provider declined, as it says: somebody has to look at it.';

-- +goose Down
DROP TABLE refunds;
DROP TYPE refund_status;

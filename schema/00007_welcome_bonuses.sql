-- +goose Up
CREATE TABLE welcome_bonuses (
    user_id     bigint      NOT NULL,
    transfer_id bigint      NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT welcome_bonuses_pkey PRIMARY KEY (user_id),
    CONSTRAINT welcome_bonuses_transfer_id_key UNIQUE (transfer_id),
    CONSTRAINT welcome_bonuses_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT welcome_bonuses_transfer_id_fkey FOREIGN KEY (transfer_id) REFERENCES transfers (id)
);

COMMENT ON TABLE welcome_bonuses IS 'Who got the welcome bonus, and by which transfer. The primary key gives it once a user.';

-- +goose Down
DROP TABLE welcome_bonuses;

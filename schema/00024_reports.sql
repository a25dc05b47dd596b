-- +goose Up
CREATE TYPE report_way AS ENUM (
    'read_uncommitted', 'read_committed', 'repeatable_read', 'serializable', 'deferrable', 'row_locks', 'table_locks', 'shared_snapshot'
);

CREATE TABLE reports (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    kind            text        NOT NULL,
    request_key     text        NOT NULL,
    way             report_way  NOT NULL,
    users           bigint      NOT NULL,
    active_users    bigint      NOT NULL,
    accounts        bigint      NOT NULL,
    balances_minor  bigint      NOT NULL,
    entries_minor   bigint      NOT NULL,
    transfers       bigint      NOT NULL,
    posts           bigint      NOT NULL,
    published_posts bigint      NOT NULL,
    read_at         timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reports_pkey PRIMARY KEY (id),
    CONSTRAINT reports_kind_request_key_key UNIQUE (kind, request_key),
    CONSTRAINT reports_kind_length CHECK (length(kind) BETWEEN 1 AND 50),
    CONSTRAINT reports_request_key_length CHECK (length(request_key) BETWEEN 1 AND 200),
    -- Each of these pairs comes from one statement, and so from one moment, whatever the way.
    CONSTRAINT reports_active_users_are_users CHECK (active_users BETWEEN 0 AND users),
    CONSTRAINT reports_published_posts_are_posts CHECK (published_posts BETWEEN 0 AND posts),
    CONSTRAINT reports_accounts_not_negative CHECK (accounts >= 0),
    CONSTRAINT reports_balances_not_negative CHECK (balances_minor >= 0),
    CONSTRAINT reports_transfers_not_negative CHECK (transfers >= 0)
);

COMMENT ON TABLE reports IS 'Reports as they were computed. Rows are never changed.';
COMMENT ON COLUMN reports.kind IS 'What the report is for, such as month_end.';
COMMENT ON COLUMN reports.request_key IS
    'Chosen by whoever asked, unique within the kind: the same request sent again finds this row and computes nothing.';
COMMENT ON COLUMN reports.way IS 'How the reads were kept together. The first two do not: figures may be of different moments.';
COMMENT ON COLUMN reports.accounts IS 'Customers'' accounts.';
COMMENT ON COLUMN reports.balances_minor IS 'Sum of the balances of customers'' accounts.';
COMMENT ON COLUMN reports.entries_minor IS
    'Sum of the ledger entries of customers'' accounts. That it equals the balances is no constraint: a report of wrong books is worth keeping, too.';
COMMENT ON COLUMN reports.read_at IS 'When the first of the reads ran.';

CREATE TRIGGER reports_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE reports;
DROP TYPE report_way;

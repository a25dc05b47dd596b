CREATE TABLE jobs (
    id     bigint      PRIMARY KEY,
    state  text        NOT NULL,
    run_at timestamptz NOT NULL
);
CREATE INDEX ON jobs (state, run_at, id);
CREATE TABLE job_logs (
    job_id bigint NOT NULL REFERENCES jobs,
    line   text   NOT NULL
);

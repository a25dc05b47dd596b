-- The wider the rows, the smaller the server believes an empty table to be, and the index
-- with a WHERE the cheapest way to anything.
CREATE TABLE invitations (
    id         uuid PRIMARY KEY,
    team_id    text NOT NULL,
    email      text NOT NULL,
    state      text NOT NULL,
    token_hash text NOT NULL,
    invited_by text NOT NULL,
    role       text NOT NULL,
    revoked_at timestamptz,
    expires_at timestamptz NOT NULL,
    subject    text NOT NULL,
    body       text NOT NULL,
    note       text NOT NULL
);
CREATE UNIQUE INDEX ON invitations (team_id, email) WHERE state = 'pending';

CREATE TABLE things (id uuid PRIMARY KEY, amount numeric NOT NULL, other timestamptz NOT NULL);

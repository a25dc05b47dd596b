CREATE TABLE docs (
    id bigint PRIMARY KEY,
    shelf text NOT NULL DEFAULT 'a',
    title text NOT NULL CHECK (title <> ''),
    version bigint NOT NULL DEFAULT 1
);
CREATE TABLE notes (body text NOT NULL);
CREATE VIEW shelf_a AS SELECT id, title FROM docs WHERE shelf = 'a';
CREATE TABLE parts (
    region int NOT NULL,
    id bigint NOT NULL,
    title text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (region, id)
) PARTITION BY LIST (region);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
CREATE TABLE secrets (
    id bigint PRIMARY KEY,
    tenant text NOT NULL,
    body text NOT NULL,
    version bigint NOT NULL DEFAULT 1
);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (tenant = current_setting('app.tenant', true));

CREATE TABLE docs (
    id bigint PRIMARY KEY,
    shelf text NOT NULL,
    place int NOT NULL,
    title text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (shelf, place)
);
CREATE UNIQUE INDEX docs_title_key ON docs (title) WHERE shelf = 'a';
CREATE TABLE keyless (id bigint NOT NULL, version bigint NOT NULL);
CREATE VIEW shelf_a AS SELECT id, title, version FROM docs WHERE shelf = 'a';
CREATE TABLE parents (id bigint PRIMARY KEY, version bigint NOT NULL);
CREATE TABLE children () INHERITS (parents);
CREATE TABLE logged (id bigint PRIMARY KEY, version bigint NOT NULL);
CREATE TABLE log (id bigint);
CREATE RULE log AS ON UPDATE TO logged DO ALSO INSERT INTO log VALUES (new.id);

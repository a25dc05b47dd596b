CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, version bigint NOT NULL);

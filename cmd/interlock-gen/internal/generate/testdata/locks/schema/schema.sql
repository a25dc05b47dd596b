CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    id      bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users,
    status  text   NOT NULL
);
CREATE INDEX ON shop.orders (status, id);

-- The schema of all cases that have none of their own.
CREATE TABLE users (
    id      bigint PRIMARY KEY,
    email   text   NOT NULL UNIQUE,
    code    text   UNIQUE,
    name    text   NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE accounts (
    id            bigint PRIMARY KEY,
    user_id       bigint NOT NULL REFERENCES users,
    balance_minor bigint NOT NULL,
    version       bigint NOT NULL
);
CREATE INDEX ON accounts (user_id);
CREATE TABLE entries (
    id         bigint PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts
);
CREATE TABLE posts (
    id        bigint PRIMARY KEY,
    author_id bigint NOT NULL REFERENCES users,
    status    text   NOT NULL
);
CREATE TABLE followers (
    user_id     bigint NOT NULL REFERENCES users,
    follower_id bigint NOT NULL REFERENCES users,
    PRIMARY KEY (user_id, follower_id)
);
CREATE TABLE jobs (
    id     bigint      PRIMARY KEY,
    state  text        NOT NULL,
    run_at timestamptz NOT NULL
);
CREATE INDEX ON jobs (state, run_at, id);
CREATE TABLE products (
    id          bigint PRIMARY KEY,
    sku         text   NOT NULL UNIQUE,
    stock       bigint NOT NULL,
    price_minor bigint NOT NULL
);
CREATE TABLE orders (
    id      bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users,
    status  text   NOT NULL
);
CREATE TABLE order_items (
    order_id   bigint NOT NULL REFERENCES orders,
    line_no    int    NOT NULL,
    product_id bigint NOT NULL REFERENCES products,
    quantity   bigint NOT NULL,
    PRIMARY KEY (order_id, line_no)
);
CREATE TABLE seats (
    event_id  bigint NOT NULL,
    number    int    NOT NULL,
    booked_by bigint,
    UNIQUE (event_id, number)
);
CREATE TABLE readings (
    at    timestamptz NOT NULL,
    value float8      NOT NULL
);
CREATE FUNCTION price(bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT $1';

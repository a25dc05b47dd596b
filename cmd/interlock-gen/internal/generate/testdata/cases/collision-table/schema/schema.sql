CREATE TABLE items (id bigint PRIMARY KEY);
CREATE TABLE read_queries (id bigint);

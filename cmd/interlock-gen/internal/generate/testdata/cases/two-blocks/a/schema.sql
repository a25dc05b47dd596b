CREATE TABLE items (a bigint PRIMARY KEY);

-- name: AddInterest :execrows
UPDATE accounts SET balance_minor = balance_minor + 1 WHERE id = ANY ($1::bigint[]);

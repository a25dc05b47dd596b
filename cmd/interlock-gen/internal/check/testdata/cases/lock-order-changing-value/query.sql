-- name: DeleteRandom :execrows
UPDATE jobs SET state = 'x' WHERE id = (random() * 10)::bigint;

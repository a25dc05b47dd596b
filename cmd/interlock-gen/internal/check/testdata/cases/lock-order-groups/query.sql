-- name: UpdateByCounts :execrows
UPDATE accounts SET version = version + 1 FROM (SELECT count(*) AS n FROM jobs GROUP BY state) x WHERE accounts.id = x.n;

-- name: MergeStock :exec
MERGE INTO products p USING unnest($1::bigint[]) AS new (id) ON p.id = new.id
WHEN MATCHED THEN UPDATE SET stock = p.stock + 1;

-- name: FindEventByCode :one
SELECT * FROM events WHERE code = sqlc.arg(code);

-- name: CreateEvent :one
-- CreateEvent makes an event with its seats, in the order of the labels. It fails with
-- events_code_key if there is an event of the code.
WITH made AS (
    INSERT INTO events (code, name, seats_per_user)
    VALUES (sqlc.arg(code), sqlc.arg(name), sqlc.arg(seats_per_user))
    RETURNING id
), numbered AS (
    INSERT INTO seats (event_id, label)
    SELECT made.id, l.label FROM made, unnest(sqlc.arg(labels)::text[]) WITH ORDINALITY AS l (label, n) ORDER BY l.n
)
SELECT id FROM made;

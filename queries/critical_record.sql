-- name: CreateCriticalRecord :one
-- CreateCriticalRecord writes a record, the copy of its first version and the entry in the
-- system log. If a record with this key exists, nothing is written, and the row is that of its
-- first version, with replayed set; no row if it is newer than the snapshot.
--
-- The lock on the record that was found is for COMMIT, which waits for the disk only in a
-- transaction that has left something in the server's log: what it then waits for is all that
-- was committed before.
WITH before AS (
    SELECT r.id FROM critical_records r WHERE r.request_key = sqlc.arg(request_key) FOR KEY SHARE
), record AS (
    INSERT INTO critical_records (request_key, user_id, data, checksum)
    VALUES (sqlc.arg(request_key), sqlc.arg(user_id), sqlc.arg(data), sqlc.arg(checksum))
    ON CONFLICT (request_key) DO NOTHING
    RETURNING *
), copied AS (
    INSERT INTO critical_record_copies (record_id, version, user_id, data, checksum)
    SELECT record.id, record.version, record.user_id, record.data, record.checksum FROM record
    RETURNING seal
), logged AS (
    INSERT INTO system_log (operation, record_id, version, user_id)
    SELECT 'critical_record_created', record.id, record.version, record.user_id FROM record
)
SELECT record.id, record.version, record.user_id, record.checksum, copied.seal, record.changed_at AS written_at, false AS replayed
FROM record, copied
UNION ALL
SELECT c.record_id, c.version, c.user_id, c.checksum, c.seal, c.created_at, true
FROM before JOIN critical_record_copies c ON c.record_id = before.id AND c.version = 1;

-- name: ChangeCriticalRecord :one
-- ChangeCriticalRecord writes the next version of a record, its copy and the entry in the
-- system log. If the record has another version by now, nothing is written, and the row is that
-- of the next version, with replayed set; no row if there is none, or it is newer than the
-- snapshot. The lock is that of CreateCriticalRecord.
WITH before AS (
    SELECT r.id FROM critical_records r
    WHERE r.id = sqlc.arg(id)::bigint AND EXISTS (
        SELECT FROM critical_record_copies c WHERE c.record_id = r.id AND c.version = sqlc.arg(version)::bigint + 1)
    FOR KEY SHARE
), record AS (
    UPDATE critical_records
    SET user_id = sqlc.arg(user_id)::bigint, data = sqlc.arg(data), checksum = sqlc.arg(checksum),
        version = version + 1, changed_at = now()
    WHERE id = sqlc.arg(id)::bigint AND version = sqlc.arg(version)::bigint
    RETURNING *
), copied AS (
    INSERT INTO critical_record_copies (record_id, version, user_id, data, checksum, previous)
    SELECT record.id, record.version, record.user_id, record.data, record.checksum,
           (SELECT before.seal FROM critical_record_copies before
            WHERE before.record_id = record.id AND before.version = record.version - 1)
    FROM record
    RETURNING seal
), logged AS (
    INSERT INTO system_log (operation, record_id, version, user_id)
    SELECT 'critical_record_changed', record.id, record.version, record.user_id FROM record
)
SELECT record.id, record.version, record.user_id, record.checksum, copied.seal, record.changed_at AS written_at, false AS replayed
FROM record, copied
UNION ALL
SELECT c.record_id, c.version, c.user_id, c.checksum, c.seal, c.created_at, true
FROM before JOIN critical_record_copies c ON c.record_id = before.id AND c.version = sqlc.arg(version)::bigint + 1;

-- name: GetCriticalRecord :one
SELECT * FROM critical_records WHERE id = sqlc.arg(id);

-- name: LockCriticalRecordByKey :one
-- LockCriticalRecordByKey finds the version that a request with this key wrote. The lock is that
-- of CreateCriticalRecord.
SELECT c.* FROM critical_records r JOIN critical_record_copies c ON c.record_id = r.id AND c.version = 1
WHERE r.request_key = sqlc.arg(request_key) FOR KEY SHARE OF r;

-- name: LockCriticalRecordVersion :one
-- LockCriticalRecordVersion finds a version of a record. The lock is that of
-- CreateCriticalRecord.
SELECT c.* FROM critical_records r JOIN critical_record_copies c ON c.record_id = r.id
WHERE r.id = sqlc.arg(id) AND c.version = sqlc.arg(version) FOR KEY SHARE OF r;

-- name: ListCriticalRecordCopies :many
-- ListCriticalRecordCopies returns a page of a record's versions, oldest first, above a version
-- that an earlier page ended with.
SELECT * FROM critical_record_copies
WHERE record_id = sqlc.arg(record_id) AND version > sqlc.arg(after_version)
ORDER BY version LIMIT sqlc.arg(max_rows);

-- name: ListSystemLog :many
-- ListSystemLog returns what was done to a record, oldest first, above a version that an
-- earlier page ended with.
SELECT * FROM system_log
WHERE record_id = sqlc.arg(record_id) AND version > sqlc.arg(after_version)
ORDER BY version LIMIT sqlc.arg(max_rows);

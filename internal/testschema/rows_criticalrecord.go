package testschema

// criticalRecordRows are record 1 of user 1 with the key "first", and its first version.
const criticalRecordRows = `;
	WITH record AS (
		INSERT INTO critical_records (request_key, user_id, data, checksum) VALUES ('first', 1, 'data', sha256('data')) RETURNING *
	), copied AS (
		INSERT INTO critical_record_copies (record_id, version, user_id, data, checksum)
		SELECT id, version, user_id, data, checksum FROM record
	)
	INSERT INTO system_log (operation, record_id, version, user_id)
	SELECT 'critical_record_created', id, version, user_id FROM record`

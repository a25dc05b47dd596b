package invariant

// CriticalRecord are what must be true of critical records. Constraints hold it, too:
// here it is said once more, in other words.
var CriticalRecord = []Invariant{
	{
		"each critical record is as its newest copy",
		`SELECT format('record %s: version %s, newest copy %s', r.id, r.version, c.version)
		FROM critical_records r
		LEFT JOIN LATERAL (SELECT * FROM critical_record_copies WHERE record_id = r.id ORDER BY version DESC LIMIT 1) c ON true
		WHERE (r.version, r.user_id, r.data, r.checksum) IS DISTINCT FROM (c.version, c.user_id, c.data, c.checksum)`,
	},
	{
		"the copies of a critical record are numbered from 1 on, each sealed over the one before",
		`SELECT format('record %s, version %s', record_id, version)
		FROM (SELECT *, row_number() OVER w AS place, lag(seal) OVER w AS before FROM critical_record_copies
			WINDOW w AS (PARTITION BY record_id ORDER BY version)) c
		WHERE version <> place OR previous IS DISTINCT FROM before
			OR seal <> sha256(coalesce(previous, '') || int8send(record_id) || int8send(version) || int8send(user_id) || sha256(data))`,
	},
	{
		"each copy of a critical record is logged once, for the same user",
		`SELECT format('record %s, version %s', coalesce(c.record_id, l.record_id), coalesce(c.version, l.version))
		FROM critical_record_copies c FULL JOIN system_log l ON (l.record_id, l.version) = (c.record_id, c.version)
		WHERE c.user_id IS DISTINCT FROM l.user_id`,
	},
}

-- name: RenameLink :execrows
UPDATE links SET state = $3 WHERE owner_id = $1 AND name = $2 AND deleted IS FALSE;

-- name: RevokeLink :execrows
UPDATE links l SET revoked_at = now() WHERE l.name = $1 AND l.revoked_at IS NULL AND l.state = 'open';

-- name: RenameAny :execrows
UPDATE links SET state = $3 WHERE owner_id = $1 AND name = $2;

-- name: RenameDeleted :execrows
UPDATE links SET state = $3 WHERE owner_id = $1 AND name = $2 AND deleted IS TRUE;

-- name: RenameEither :execrows
UPDATE links SET state = $3 WHERE owner_id = $1 AND name = $2 AND (deleted IS FALSE OR state = 'open');

-- name: RevokeHalf :execrows
UPDATE links l SET revoked_at = now() WHERE owner_id = 1 AND l.name = $1 AND l.state = 'open';

-- name: RevokeOther :execrows
UPDATE links l SET state = $3 FROM links o
WHERE l.owner_id = $1 AND l.name = $2 AND o.id = 1 AND o.deleted IS FALSE;

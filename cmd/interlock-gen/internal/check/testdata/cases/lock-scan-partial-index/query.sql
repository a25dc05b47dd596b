-- name: RevokeInvitation :execrows
UPDATE invitations SET state = 'revoked', revoked_at = now() WHERE id = $1 AND state = 'pending';

-- name: ExpireInvitations :execrows
-- @allow lock-order one process does it
UPDATE invitations SET state = 'expired' WHERE state = 'pending';

-- name: ForgetInvitations :execrows
-- @allow lock-order one process does it
UPDATE invitations SET email = '' WHERE state = 'expired';

-- name: ClaimJobs :execrows
UPDATE jobs SET state = 'running' WHERE id IN (SELECT id FROM jobs WHERE state = 'new' FOR NO KEY UPDATE SKIP LOCKED);

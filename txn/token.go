package txn

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are those of the table that Options.IdempotencyKey needs, in goose's format.
// Apply them as the role that owns the schema interlock, with a version table of their own,
// and grant the role that runs transactions USAGE on the schema and SELECT, INSERT, UPDATE,
// DELETE on the table. Without keys the table is not needed.
var Migrations fs.FS = sub(migrations, "migrations")

func sub(f fs.FS, dir string) fs.FS {
	s, err := fs.Sub(f, dir)
	if err != nil {
		panic(err) // the folder is embedded
	}
	return s
}

// The statements on interlock.commit_token. A key is claimed by the first transaction that
// commits with it; an attempt that was voided cannot claim it any more, however late it
// comes.
const (
	// claimSQL fails by itself if the key is not to be had, so that nothing behind it in its
	// flush is executed: a text of this package, checked by a domain that every database has.
	claimSQL = `with claimed as (
			insert into interlock.commit_token as t (key, attempt, fingerprint) values ($1, $2, $3)
			on conflict (key) do update
			set attempt = excluded.attempt, fingerprint = excluded.fingerprint, created_at = now()
			where t.attempt is null and excluded.attempt <> all (t.voided)
			returning 1
		)
		select case (select pg_catalog.count(*) from claimed) when 1 then 0 else (-1)::information_schema.cardinal_number end`

	// The claim is a write: the transaction has its id by then.
	claimXIDSQL         = claimSQL + ", pg_current_xact_id()::text"
	claimXIDAndEpochSQL = claimXIDSQL + ", " + epochSQL

	// voidSQL returns the attempt that was committed with the key, if any, and otherwise sees
	// to it that this one cannot be. It waits for a transaction in progress that claims the key.
	voidSQL = `insert into interlock.commit_token as t (key, voided) values ($1, array[$2])
		on conflict (key) do update
		set voided = case when t.attempt = $2 then t.voided else array_append(array_remove(t.voided, $2), $2) end,
			created_at = case when t.attempt is null then now() else t.created_at end
		returning coalesce(t.attempt, ''), t.fingerprint`

	fingerprintSQL = "select fingerprint from interlock.commit_token where key = $1 and attempt is not null"

	// By way of an array: the inner query is executed once, whatever the planner thinks.
	deleteTokensSQL = `delete from interlock.commit_token where key = any (array(
			select key from interlock.commit_token where created_at < now() - make_interval(secs => $1)
			order by created_at limit $2 for update skip locked
		))`
)

// maxKeyLength is that of interlock.commit_token, in characters.
const maxKeyLength = 200

// A token is the mark that one attempt leaves in the database if it is committed.
type token struct {
	key, attempt, fingerprint string
	due                       bool // not claimed yet
}

func newToken(o Options) *token {
	if o.IdempotencyKey == "" {
		return nil
	}
	return &token{key: o.IdempotencyKey, attempt: rand.Text(), fingerprint: o.Fingerprint, due: true}
}

// claim claims the key. The answer brings the transaction's id too, from servers that have
// such.
func (t *transaction) claim() step {
	k := t.token
	s := step{kind: stepToken, sql: claimSQL, args: []any{k.key, k.attempt, k.fingerprint}}
	switch {
	case !t.session.genuine:
	case t.epochKnown():
		s.sql = claimXIDSQL
	default:
		s.sql = claimXIDAndEpochSQL
	}
	return s
}

// claims reports whether the key is to be claimed behind the caller's next statement. At
// ReadCommitted BEGIN brings the claim; above, it must not take the snapshot before that
// statement does. In a savepoint it could be undone without the rest: then COMMIT brings it.
func (t *transaction) claims() bool {
	return t.token != nil && t.token.due && len(t.inner) == 0 && t.opts.Isolation.strength() > ReadCommitted
}

// differs reports whether the key was committed for other work, going by its fingerprint.
func (k *token) differs(committed string) bool {
	return k.fingerprint != "" && k.fingerprint != committed
}

// errKeyTaken is why an attempt fails whose key was claimed before.
var errKeyTaken = errors.New("txn: the idempotency key is taken")

// unclaimable says what may be missing where a claim failed otherwise.
func unclaimable(err error) error {
	switch SQLState(err) {
	case stateUndefinedTable, stateInsufficientPrivilege:
		return fmt.Errorf("txn: claim the idempotency key (see txn.Migrations for its table and the privileges on it): %w", err)
	}
	return fmt.Errorf("txn: claim the idempotency key: %w", err)
}

// taken reports whether the server's error is claimSQL's own.
func taken(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == stateCheckViolation && pg.SchemaName == "information_schema" && pg.DataTypeName == "cardinal_number"
}

// alreadyCommitted asks what the key that was taken was for. It is called after the
// rollback.
func (t *transaction) alreadyCommitted() error {
	name := subject(t.opts.Label)
	if t.token.fingerprint == "" {
		return fmt.Errorf("%s: %w", name, ErrAlreadyCommitted)
	}
	if t.lost {
		return t.lostAfterAll(pgconn.ErrConnClosed)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.db.cfg.ResolveTimeout)
	defer cancel()
	var fingerprint string
	err := t.conn.QueryRow(ctx, fingerprintSQL, t.token.key).Scan(&fingerprint)
	switch {
	case err != nil && t.conn.IsClosed():
		return t.lostAfterAll(err)
	case errors.Is(err, pgx.ErrNoRows): // voided: this attempt was given up elsewhere
		return fmt.Errorf("%s: %w", name, errKeyTaken)
	case err != nil:
		return fmt.Errorf("%s: look up the idempotency key: %w", name, err)
	case t.token.differs(fingerprint):
		return fmt.Errorf("%s: %w", name, ErrKeyReused)
	}
	return fmt.Errorf("%s: %w", name, ErrAlreadyCommitted)
}

// lostAfterAll is said of a key that is taken, if the connection was lost before it could be
// told for what: another attempt finds that out.
func (t *transaction) lostAfterAll(err error) error {
	t.lost = true
	t.doom, t.cause = nil, nil
	return &lostError{err}
}

// DeleteCommitTokens deletes the rows that idempotency keys left longer ago than age, in
// short transactions of their own, and returns how many. After that a call with such a key
// does its work again: choose an age past which nobody repeats a request. Run it now and
// then; several at once share the work.
func (d *DB) DeleteCommitTokens(ctx context.Context, age time.Duration) (deleted int64, err error) {
	if age < 0 {
		return 0, fmt.Errorf("txn: delete commit tokens: the age is negative (%s)", age)
	}
	const most = 1000
	opts := Options{Label: "txn: delete commit tokens", Isolation: ReadCommitted}
	for {
		n, err := WithTxValue(ctx, d, opts, func(ctx context.Context, tx *Tx) (int64, error) {
			tag, err := tx.Exec(ctx, deleteTokensSQL, age.Seconds(), most)
			return tag.RowsAffected(), err
		})
		deleted += n
		if err != nil || n < most {
			return deleted, err
		}
	}
}

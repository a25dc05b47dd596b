package criticalrecord_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/criticalrecord"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// durabilities are all that there are, by what synchronous_commit is for them.
var durabilities = map[string]criticalrecord.Durability{
	"on": criticalrecord.Flushed, "remote_apply": criticalrecord.Applied, "local": criticalrecord.Local,
}

// naiveCreate writes a record, a copy and a log entry as such code does: it believes that what
// was committed survives a crash.
func naiveCreate(ctx context.Context, pool *pgxpool.Pool, key string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var id int64
		if err := tx.QueryRow(ctx, "insert into naive.critical_data (key) values ($1) returning id", key).Scan(&id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "insert into naive.critical_data_backups (original_id, data) values ($1, jsonb_build_object('key', $2::text))", id, key); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "insert into naive.system_logs (operation, record_id) values ('critical_data_created', $1)", id)
		return err
	})
}

const naiveSQL = `
	create schema naive;
	grant usage on schema naive to ` + pgserver.AppRole + `;
	create table naive.critical_data (id bigint generated always as identity, key text);
	create table naive.critical_data_backups (original_id bigint, data jsonb);
	create table naive.system_logs (operation text, record_id bigint)`

// onItsOwn makes an archive on a server of its own, which does not wait for its disk by default,
// as many are set up for speed.
func onItsOwn(t *testing.T, standbys string) *archive {
	t.Helper()
	t.Parallel()
	server, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true, Settings: map[string]string{
		"synchronous_commit":        "off",
		"wal_writer_delay":          "10s", // how long what is not waited for may take
		"synchronous_standby_names": standbys,
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	database := txntest.NewDatabaseOn(t, server, testschema.Migrated)
	for _, i := range testschema.Invariants {
		database.Invariant(i.Name, i.SQL)
	}
	return newArchive(t, database, txn.Config{})
}

// The server crashes at once after a COMMIT was acknowledged, again and again. Its processes die
// and the machine lives: what they have given to the operating system stays, synced or not.
func TestAcknowledgedRecordsSurviveACrash(t *testing.T) {
	a := onItsOwn(t, "")
	server := a.Server()
	owner, err := pgx.Connect(t.Context(), a.OwnerURL())
	require.NoError(t, err)
	exec(t, owner, naiveSQL)
	require.NoError(t, owner.Close(t.Context()))
	naive := a.Pool(t)
	crash := func() {
		require.NoError(t, server.Crash(t.Context()))
		for _, pool := range []*pgxpool.Pool{a.db.Pool(), a.admin, naive} {
			pool.Reset()
		}
	}
	has := func(sql, key string) (found bool) {
		require.NoError(t, a.admin.QueryRow(t.Context(), sql, key).Scan(&found))
		return found
	}
	hasNaive := func(key string) bool {
		return has("select exists (select from naive.critical_data where key = $1)", key)
	}
	var receipts []criticalrecord.Receipt
	create := func(key string, d criticalrecord.Durability) {
		receipt, err := criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{
			Key: key, UserID: ada, Data: []byte("data of " + key), Durability: d,
		})
		require.NoError(t, err)
		receipts = append(receipts, receipt)
	}
	allThere := func() {
		for _, r := range receipts {
			verdict, err := criticalrecord.Verify(t.Context(), a.db, r.RecordID, r)
			require.NoError(t, err, "acknowledged, and lost")
			require.EqualValues(t, 1, verdict.Versions)
		}
		require.Equal(t, [3]int{len(receipts), len(receipts), len(receipts)}, a.rows(t))
	}

	lost := 0
	for round := 0; round == 0 || lost == 0 && round < 5; round++ { // as a rule they are lost at once
		for setting, d := range durabilities {
			key := fmt.Sprintf("%s %d", setting, round)
			create(key, d)
			require.NoError(t, naiveCreate(t.Context(), naive, key))
			crash()
			allThere()
			if !hasNaive(key) {
				lost++
			}
		}
	}
	t.Logf("%d crashes: all %d acknowledged critical records are there, and %d others are lost", len(receipts), len(receipts), lost)
	require.Positive(t, lost, "the naive records survived: the crashes came too late to show anything")

	// What is lost is lost as a whole: record, copy and log entry.
	var torn int
	require.NoError(t, a.admin.QueryRow(t.Context(), `
		select count(*) from naive.critical_data d full join naive.critical_data_backups b on b.original_id = d.id
		full join naive.system_logs l on l.record_id = coalesce(d.id, b.original_id)
		where d.id is null or b.original_id is null or l.record_id is null`).Scan(&torn))
	require.Zero(t, torn)

	// A record that somebody wrote otherwise, without waiting, is found by its key: there already,
	// or while the call waits for it. The call that finds it makes sure of it.
	for _, meanwhile := range []bool{false, true} {
		r := criticalrecord.CreateRequest{Key: fmt.Sprint("found, meanwhile: ", meanwhile), UserID: ada, Data: []byte("x")}
		var receipt criticalrecord.Receipt
		find := func() (err error) {
			receipt, err = criticalrecord.Create(t.Context(), a.db, r)
			return err
		}
		var found <-chan error
		off := txn.Options{Label: "test: off", SynchronousCommit: txn.SyncOff}
		require.NoError(t, txn.WithTx(t.Context(), a.db, off, func(ctx context.Context, tx *txn.Tx) error {
			checksum := sha256.Sum256(r.Data)
			_, err := db.New(tx).CreateCriticalRecord(ctx, db.CreateCriticalRecordParams{
				RequestKey: r.Key, UserID: r.UserID, Data: r.Data, Checksum: checksum[:],
			})
			if meanwhile && err == nil {
				found = async(find)
				a.waitBlocked(t)
			}
			return err
		}))
		if !meanwhile {
			found = async(find)
		}
		require.NoError(t, <-found)
		require.True(t, receipt.Replayed)
		receipts = append(receipts, receipt)
		crash()
		allThere()
	}

	// A COMMIT that waits takes along what was committed before it without.
	require.NoError(t, naiveCreate(t.Context(), naive, "before a critical one"))
	create("behind another one", criticalrecord.Flushed)
	crash()
	allThere()
	require.True(t, hasNaive("before a critical one"))
}

// Where a synchronous standby is missing, all wait for it but those who have said that they do
// not want to.
func TestWhoWaitsForStandbys(t *testing.T) {
	a := onItsOwn(t, "nobody")
	waiting := func() (n int) {
		require.NoError(t, a.admin.QueryRow(t.Context(), `
			select (select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'SyncRep')
			from pg_sleep(0.005)`).Scan(&n))
		return n
	}
	allWait := func(calls ...<-chan error) {
		for waiting() < len(calls) {
			for _, done := range calls {
				select {
				case err := <-done:
					t.Fatalf("it did not wait: %v", err)
				default:
				}
			}
		}
	}
	create := func(d criticalrecord.Durability) <-chan error {
		return async(func() error {
			_, err := criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{
				Key: fmt.Sprint("key ", d), UserID: ada, Data: []byte("x"), Durability: d,
			})
			return err
		})
	}
	flushed, applied := create(criticalrecord.Flushed), create(criticalrecord.Applied)
	allWait(flushed, applied)
	require.NoError(t, <-create(criticalrecord.Local))
	require.Equal(t, 2, waiting())

	// Who gives up waiting is not told that the record is where it should be.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	impatient := txn.New(a.db.Pool(), watched(txn.Config{ResolveTimeout: 100 * time.Millisecond}))
	given := async(func() error {
		_, err := criticalrecord.Create(ctx, impatient, criticalrecord.CreateRequest{Key: "given up", UserID: ada, Data: []byte("x")})
		return err
	})
	allWait(flushed, applied, given)
	cancel()
	err := <-given
	_, unknown := errors.AsType[*txn.CommitUnknownError](err)
	require.True(t, unknown, "%v", err)

	a.exec(t, "alter system set synchronous_standby_names = ''")
	a.exec(t, "select pg_reload_conf()")
	require.NoError(t, <-flushed)
	require.NoError(t, <-applied)
	receipt, err := criticalrecord.Create(t.Context(), impatient, criticalrecord.CreateRequest{Key: "given up", UserID: ada, Data: []byte("x")})
	require.NoError(t, err, "asked again")
	require.True(t, receipt.Replayed)
	require.Equal(t, [3]int{4, 4, 4}, a.rows(t))
}

// What COMMIT waits for is said by each call, over what server, database and role have by
// default.
func TestDurabilityReachesTheServer(t *testing.T) {
	a := setup(t, txn.Config{})
	a.exec(t, `
		create table seen (setting text);
		grant all on seen to public;
		create function see() returns trigger language plpgsql as $$ begin
			insert into seen values (current_setting('synchronous_commit'));
			return null;
		end $$;
		create trigger see after insert on system_log for each row execute function see()`)
	var name string
	require.NoError(t, a.admin.QueryRow(t.Context(), "select quote_ident(current_database())").Scan(&name))
	a.exec(t, "alter database "+name+" set synchronous_commit = off")
	a.db.Pool().Reset() // the default is that of new sessions
	for setting, d := range durabilities {
		r := criticalrecord.CreateRequest{Key: setting, UserID: ada, Data: []byte("x"), Durability: d}
		receipt, err := criticalrecord.Create(t.Context(), a.db, r)
		require.NoError(t, err)
		_, err = criticalrecord.Change(t.Context(), a.db, criticalrecord.ChangeRequest{
			RecordID: receipt.RecordID, Version: 1, UserID: ada, Data: []byte("y"), Durability: d,
		})
		require.NoError(t, err)
		rows, err := a.admin.Query(t.Context(), "with gone as (delete from seen returning setting) select setting from gone")
		require.NoError(t, err)
		seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Equal(t, []string{setting, setting}, seen)
	}
	_, err := criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{Key: "k", UserID: ada, Data: []byte("x"), Durability: 3})
	require.Equal(t, &criticalrecord.InvalidError{Field: "Durability"}, err, "there is no other one")
}

// Only the transaction that was begun knows what its COMMIT will wait for. A call that joins
// one demands that it was begun for as much.
func TestDurabilityOfAJoinedCall(t *testing.T) {
	a := setup(t, txn.Config{})
	for _, outer := range []txn.SynchronousCommit{
		txn.SyncUnspecified, txn.SyncOff, txn.SyncRemoteWrite, txn.SyncLocal, txn.SyncOn, txn.SyncRemoteApply,
	} {
		for setting, d := range durabilities {
			key := fmt.Sprint(string(outer), " ", setting)
			err := txn.WithTx(t.Context(), a.db, txn.Options{Label: "test: outer", SynchronousCommit: outer}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := criticalrecord.Create(ctx, tx, criticalrecord.CreateRequest{Key: key, UserID: ada, Data: []byte("x"), Durability: d})
				return err
			})
			if string(outer) == setting {
				require.NoError(t, err, key)
			} else {
				require.ErrorIs(t, err, txn.ErrOptionsConflict, key)
			}
		}
	}
	require.Equal(t, [3]int{3, 3, 3}, a.rows(t))
}

package criticalrecord_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/criticalrecord"
	"github.com/interlock-go/interlock/txn"
)

func TestHistoryPages(t *testing.T) {
	a := setup(t, txn.Config{})
	last := a.create(t, "k", "1")
	const versions = criticalrecord.MaxPage + 3
	for n := 2; n <= versions; n++ {
		last = a.change(t, last, fmt.Sprint(n))
	}
	for limit, want := range map[int]int{0: criticalrecord.DefaultPage, 1: 1, criticalrecord.MaxPage: criticalrecord.MaxPage, 1 << 40: criticalrecord.MaxPage} {
		page, err := criticalrecord.History(t.Context(), a.db, criticalrecord.HistoryRequest{RecordID: last.RecordID, Limit: limit})
		require.NoError(t, err)
		require.Len(t, page.Versions, want)
		require.EqualValues(t, want, page.Next)
	}
	var seen []string
	for r := (criticalrecord.HistoryRequest{RecordID: last.RecordID, Limit: 10}); ; {
		page, err := criticalrecord.History(t.Context(), a.db, r)
		require.NoError(t, err)
		for _, v := range page.Versions {
			seen = append(seen, string(v.Data))
		}
		if page.Next == 0 {
			break
		}
		r.After = page.Next
	}
	require.Len(t, seen, versions)
	require.Equal(t, []string{"1", "2", "22", "23"}, []string{seen[0], seen[1], seen[21], seen[22]})
	verdict, err := criticalrecord.Verify(t.Context(), a.db, last.RecordID, last)
	require.NoError(t, err)
	require.Equal(t, criticalrecord.Verdict{Versions: versions, Seal: last.Seal}, verdict)
}

// Statements cannot alter what was written. Somebody who takes the constraints and triggers
// away can, and is found out.
func TestVerifyFindsWhatWasAltered(t *testing.T) {
	a := setup(t, txn.Config{})
	receipts := []criticalrecord.Receipt{a.create(t, "k", "one")}
	for _, data := range []string{"two", "three"} {
		receipts = append(receipts, a.change(t, receipts[len(receipts)-1], data))
	}
	id := receipts[0].RecordID
	const free = `
		set local session_replication_role = replica; -- no triggers, and so no foreign keys
		alter table critical_records drop constraint critical_records_checksum_matches;
		alter table critical_record_copies drop constraint critical_record_copies_checksum_matches;
		alter table critical_record_copies drop constraint critical_record_copies_first_has_no_previous;`
	for _, c := range []struct {
		name, sql string
		found     int64 // in which version, without the receipts that were kept
		kept      int64 // and with them; 0 is in none
	}{
		{"nothing", "", 0, 0},
		{"a version's data", "update critical_record_copies set data = 'TWO' where version = 2", 2, 2},
		{"a version's data and checksum", "update critical_record_copies set data = 'TWO', checksum = sha256('TWO') where version = 2", 3, 2},
		{"a version's user", "update critical_record_copies set user_id = 1 where version = 2", 3, 2},
		{"the newest version's user, and the record's", `
			update critical_record_copies set user_id = 1 where version = 3;
			update critical_records set user_id = 1`, 0, 3},
		{"a version is missing", "delete from critical_record_copies where version = 2", 2, 2},
		{"the newest version is missing", "delete from critical_record_copies where version = 3", 3, 3},
		{"all are missing", "delete from critical_record_copies", 1, 1},
		{"the record", "update critical_records set data = 'THREE', checksum = sha256('THREE')", 3, 3},
		{"the record's user", "update critical_records set user_id = 1", 3, 3},
		{"the newest version is taken back", `
			delete from critical_record_copies where version = 3;
			update critical_records set version = 2, data = 'two', checksum = sha256('two')`, 0, 3},
		{"all is rewritten to fit", `
			update critical_record_copies set data = 'TWO', checksum = sha256('TWO') where version = 2;
			update critical_record_copies set previous = (select seal from critical_record_copies where version = 2) where version = 3`, 0, 2},
	} {
		tx := begin(t, a.admin)
		exec(t, tx, free)
		if c.sql != "" {
			exec(t, tx, c.sql)
		}
		joined := txn.Join(tx, txn.Options{Label: "test: altered"})
		verify := func(kept ...criticalrecord.Receipt) int64 {
			verdict, err := criticalrecord.Verify(t.Context(), joined.Tx(), id, kept...)
			if err == nil {
				require.Positive(t, verdict.Versions, c.name)
				return 0
			}
			var corrupt *criticalrecord.CorruptError
			require.ErrorAs(t, err, &corrupt, c.name)
			require.ErrorIs(t, err, criticalrecord.ErrCorrupt)
			require.Equal(t, id, corrupt.RecordID, c.name)
			require.Equal(t, strings.HasSuffix(c.name, "missing") || strings.HasSuffix(c.name, "taken back"), corrupt.What == "it is missing", "%s: %v", c.name, err)
			return corrupt.Version
		}
		require.Equal(t, c.found, verify(), c.name)
		require.Equal(t, c.kept, verify(receipts...), "%s, with the receipts", c.name)
		require.NoError(t, tx.Rollback(t.Context()))
		joined.RolledBack(t.Context(), nil)
	}

	// What is read is compared with its checksum, also where nobody verifies all.
	tx := begin(t, a.admin)
	exec(t, tx, free+"update critical_records set data = 'THREE'; update critical_record_copies set data = 'TWO' where version = 2")
	joined := txn.Join(tx, txn.Options{Label: "test: damaged"})
	_, err := criticalrecord.Get(t.Context(), joined.Tx(), id)
	require.Equal(t, &criticalrecord.CorruptError{RecordID: id, Version: 3, What: "the data does not have its checksum"}, err)
	_, err = criticalrecord.History(t.Context(), joined.Tx(), criticalrecord.HistoryRequest{RecordID: id})
	require.Equal(t, &criticalrecord.CorruptError{RecordID: id, Version: 2, What: "the data does not have its checksum"}, err)
	require.NoError(t, tx.Rollback(t.Context()))
	joined.RolledBack(t.Context(), nil)
}

// While somebody writes the next version, the history up to now is verified.
func TestVerifyBesideAChange(t *testing.T) {
	a := setup(t, txn.Config{})
	first := a.create(t, "k", "one")
	require.NoError(t, txn.WithTx(t.Context(), a.db, txn.Options{Label: "test: change", SynchronousCommit: txn.SyncOn}, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := criticalrecord.Change(ctx, tx, criticalrecord.ChangeRequest{RecordID: first.RecordID, Version: 1, UserID: ada, Data: []byte("two")}); err != nil {
			return err
		}
		verdict, err := criticalrecord.Verify(txn.Detach(ctx), a.db, first.RecordID, first)
		require.NoError(t, err)
		require.EqualValues(t, 1, verdict.Versions)
		return nil
	}))
}

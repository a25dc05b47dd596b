package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"example.com/app/db"
	"github.com/interlock-go/interlock/txn"
)

// trips has the number of round trips of the last transaction.
var trips = new(tripObserver)

type tripObserver struct{ last int }

func (o *tripObserver) Observe(_ context.Context, e txn.Event) {
	if e, ok := e.(txn.CommitEvent); ok {
		o.last = e.RoundTrips
	}
}

func queued(ctx context.Context, d *txn.DB, id int64) error {
	for _, f := range []func(context.Context, *txn.DB, int64) error{
		queuedReads, queuedReadsOfATransaction, queuedWrites, queuedOrder, queuedFailure, queuedTooLate,
	} {
		if err := f(ctx, d, id); err != nil {
			return err
		}
	}
	return nil
}

// queuedReads asks for rows of several types, and for one that is not there, in the one round
// trip that also begins and commits.
func queuedReads(ctx context.Context, d *txn.DB, id int64) error {
	type answers struct {
		account, missing *txn.Pending[db.Account]
		list             *txn.Pending[[]db.ListAccountsRow]
		tick             *txn.Pending[string]
	}
	a, err := txn.WithReadTxValue(ctx, d, txn.Options{}, func(_ context.Context, rx *txn.ReadTx) (a answers, err error) {
		q := db.NewRead(rx).Queued()
		a.account = q.GetAccount(id)
		a.missing = q.GetAccount(-1)
		a.list = q.ListAccounts(db.ListAccountsParams{Status: db.AccountStatusOpen, Ids: []int64{id}})
		a.tick = q.QuotedColumn()
		if _, err := a.account.Value(); !errors.Is(err, txn.ErrPending) {
			return a, fmt.Errorf("an answer before it was asked for: %w", err)
		}
		return a, nil
	})
	if err != nil || trips.last != 1 {
		return fmt.Errorf("reads in %d round trips: %w", trips.last, err)
	}
	account, err := a.account.Value()
	if err != nil || account.ID != id || account.Status != db.AccountStatusOpen || account.BalanceMinor != 105 {
		return fmt.Errorf("account %+v: %w", account, err)
	}
	if _, err := a.missing.Value(); !errors.Is(err, pgx.ErrNoRows) || !errors.Is(err, txn.ErrNotFound) {
		return fmt.Errorf("an account that is not there: %w", err)
	}
	list, err := a.list.Value()
	if err != nil || len(list) != 1 || list[0].BalanceMinor != 105 {
		return fmt.Errorf("list %+v: %w", list, err)
	}
	if tick, err := a.tick.Value(); err != nil || tick != "a`b" {
		return fmt.Errorf("tick %q: %w", tick, err)
	}
	return nil
}

// queuedReadsOfATransaction has the queries that only read wait in a read-write transaction.
func queuedReadsOfATransaction(ctx context.Context, d *txn.DB, id int64) error {
	return txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		account := db.NewRead(tx).Queued().GetAccount(id)
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		_, err := account.Value()
		return err
	})
}

// queuedWrites writes in the round trip that also begins and commits, once for each kind of
// answer.
func queuedWrites(ctx context.Context, d *txn.DB, id int64) error {
	type answers struct {
		exec   *txn.Pending[struct{}]
		rows   *txn.Pending[int64]
		result interface{ String() string }
		locked *txn.Pending[db.Account]
	}
	note := "queued"
	a, err := txn.WithTxValue(ctx, d, txn.Options{}, func(_ context.Context, tx *txn.Tx) (a answers, err error) {
		q := db.New(tx).Queued()
		a.locked = q.LockAccount(id)
		a.exec = q.AddNote(db.AddNoteParams{AccountID: id, Note: &note})
		a.rows = q.AddBalance(db.AddBalanceParams{Amount: 1, ID: id})
		q.AddBalance(db.AddBalanceParams{Amount: -1, ID: id})
		forgotten := q.ForgetNotes(&note)
		tx.AfterCommit(func(context.Context) error {
			a.result, err = forgotten.Value()
			return err
		})
		return a, nil
	})
	if err != nil || trips.last != 1 {
		return fmt.Errorf("writes in %d round trips: %w", trips.last, err)
	}
	if locked, err := a.locked.Value(); err != nil || locked.BalanceMinor != 105 {
		return fmt.Errorf("locked %+v: %w", locked, err)
	}
	if _, err := a.exec.Value(); err != nil {
		return err
	}
	if n, err := a.rows.Value(); err != nil || n != 1 {
		return fmt.Errorf("%d rows: %w", n, err)
	}
	return nil
}

// queuedOrder shows that what cannot wait comes after what waits.
func queuedOrder(ctx context.Context, d *txn.DB, id int64) error {
	broke := errors.New("undo it")
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		q := db.New(tx)
		note := func(text string) *string { return &text }
		q.Queued().AddNote(db.AddNoteParams{AccountID: id, Note: note("1")})
		if _, err := q.CopyAudit(ctx, []db.CopyAuditParams{{AccountID: id, Note: note("2")}}); err != nil {
			return err
		}
		q.Queued().AddNote(db.AddNoteParams{AccountID: id, Note: note("3")})
		var failed error
		q.AppendAudits(ctx, []db.AppendAuditsParams{{AccountID: id, Note: note("4")}, {AccountID: id, Note: note("5")}}).
			Exec(func(_ int, err error) { failed = errors.Join(failed, err) })
		q.Queued().AddNote(db.AddNoteParams{AccountID: id, Note: note("6")})
		var notes []string
		q.GetAudits(ctx, []int64{id}).Query(func(_ int, rows []db.GetAuditsRow, err error) {
			failed = errors.Join(failed, err)
			for _, row := range rows {
				if row.Note != nil && len(*row.Note) == 1 {
					notes = append(notes, *row.Note)
				}
			}
		})
		if failed != nil || !slices.Equal(notes, []string{"1", "2", "3", "4", "5", "6"}) {
			return fmt.Errorf("in the order %v: %w", notes, failed)
		}
		return broke
	})
	if !errors.Is(err, broke) {
		return err
	}
	return nil
}

// queuedFailure shows who gets the error of a statement that failed with COMMIT, and that
// nothing is left of the others.
func queuedFailure(ctx context.Context, d *txn.DB, id int64) error {
	type answers struct{ before, failed, behind *txn.Pending[int64] }
	var a answers
	err := txn.WithTx(ctx, d, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
		q := db.New(tx).Queued()
		a.before = q.AddBalance(db.AddBalanceParams{Amount: 7, ID: id})
		a.failed = q.AddBalance(db.AddBalanceParams{Amount: -1000, ID: id}) // the CHECK says no
		a.behind = q.AddBalance(db.AddBalanceParams{Amount: 7, ID: id})
		return nil
	})
	failed, ok := errors.AsType[*txn.QueuedError](err)
	if !ok || failed.Query != "AddBalance" || txn.ConstraintName(err) != "accounts_balance_minor_check" {
		return fmt.Errorf("COMMIT with a statement that fails: %w", err)
	}
	if _, err := a.failed.Value(); !errors.Is(err, failed) {
		return fmt.Errorf("the failed statement: %w", err)
	}
	if _, err := a.behind.Value(); !errors.Is(err, txn.ErrRollbackOnly) {
		return fmt.Errorf("the statement behind it: %w", err)
	}
	account, err := db.Autocommit(d).GetAccount(ctx, id)
	if err != nil || account.BalanceMinor != 105 {
		return fmt.Errorf("after the failure %+v: %w", account, err)
	}
	return nil
}

// queuedTooLate uses queries whose transaction has ended, or that never had one.
func queuedTooLate(ctx context.Context, d *txn.DB, id int64) error {
	var late *db.QueuedQueries
	err := txn.WithTx(ctx, d, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
		late = db.New(tx).Queued()
		return nil
	})
	_, tooLate := late.GetAccount(id).Value()
	_, nobodys := db.New(nil).Queued().GetAccount(id).Value()
	_, nobodysReads := db.NewRead(nil).Queued().GetAccount(id).Value()
	for _, got := range []error{tooLate, nobodys, nobodysReads} {
		if !errors.Is(got, txn.ErrTxDone) {
			return fmt.Errorf("without a transaction: %w", got)
		}
	}
	return err
}

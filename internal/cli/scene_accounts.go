package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// accounts is the scene in which money moves between the accounts of customers.
type accounts struct {
	size int // how many to open
	ids  []int64
}

// open signs users up, whose accounts hold the welcome bonus then.
func (s *accounts) open(ctx context.Context, d *txn.DB) error {
	users, err := signUp(ctx, d, "accounts", s.size)
	for _, user := range users {
		s.ids = append(s.ids, user.AccountID)
	}
	return err
}

// opened is what all accounts hold together, from the beginning to the end.
func (s *accounts) opened() money.Minor {
	return money.Minor(len(s.ids)) * account.WelcomeBonus
}

// Shares of the requests, in percent. The rest are plain transfers.
const (
	percentCrossed      = 2  // two clients with two transfers each, which deadlock
	percentInsufficient = 5  // more than all accounts hold together
	percentTwice        = 10 // two clients with one transfer and one key, like a double click
)

func (s *accounts) requests(seed uint64) iter.Seq[request] {
	return func(yield func(request) bool) {
		rng := rand.New(rand.NewPCG(seed, 0))
		amount := func() money.Minor { return money.Minor(1 + rng.IntN(50)) }
		for n := 1; ; n++ {
			key := fmt.Sprintf("transfer-%d-%d", seed, n)
			from, to := s.pair(rng)
			plain := account.TransferRequest{From: from, To: to, Amount: amount(), Key: key}
			var r request
			switch throw := dice(rng.IntN(100)); {
			case throw.below(percentCrossed):
				r = s.crossed(rng, amount, key)
			case throw.below(percentInsufficient):
				plain.Amount = s.opened() + 1
				r = request{transfer(plain)}
			case throw.below(percentTwice):
				r = request{transfer(plain), transfer(plain)}
			default:
				r = request{transfer(plain)}
			}
			if !yield(r) {
				return
			}
		}
	}
}

// pair returns two different accounts.
func (s *accounts) pair(rng *rand.Rand) (from, to int64) {
	i, j := rng.IntN(len(s.ids)), rng.IntN(len(s.ids)-1)
	if j >= i {
		j++
	}
	return s.ids[i], s.ids[j]
}

// crossed are two calls that wait for one another. A transfer takes its locks in order; two in
// one transaction do not. All deadlocks between transfers begin with these: without them there
// are none.
func (s *accounts) crossed(rng *rand.Rand, amount func() money.Minor, key string) request {
	p := rng.Perm(len(s.ids))
	move := func(from, to int, key string) account.TransferRequest {
		return account.TransferRequest{From: s.ids[p[from]], To: s.ids[p[to]], Amount: amount(), Key: key}
	}
	return request{
		transfers{move(0, 1, key+"a"), move(2, 3, key+"b")},
		transfers{move(3, 2, key+"c"), move(1, 0, key+"d")},
	}
}

// A transfer is a call that moves money once.
type transfer account.TransferRequest

func (t transfer) keys() []string { return []string{t.Key} }

func (t transfer) ask(ctx context.Context, d *txn.DB) (answer, error) {
	receipt, err := account.Transfer(ctx, d, account.TransferRequest(t))
	return replayed(receipt.Replayed), err
}

// transfers are a call that moves money twice, or not at all.
type transfers [2]account.TransferRequest

func (t transfers) keys() []string { return []string{t[0].Key, t[1].Key} }

func (t transfers) ask(ctx context.Context, d *txn.DB) (answer, error) {
	// Most of these pairs deadlock, and some of their retries do so with others: of so many
	// calls three attempts, the default, would leave one undone now and then.
	opts := txn.Options{Label: "demo: several transfers", MaxAttempts: 6}
	return txn.WithTxValue(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) (said answer, err error) {
		for _, one := range t {
			receipt, err := account.Transfer(ctx, tx, one)
			if err != nil {
				return said, err
			}
			said = replayed(receipt.Replayed)
		}
		return said, nil
	})
}

func (s *accounts) rule(err error) string {
	if errors.Is(err, account.ErrInsufficientFunds) {
		return "insufficient funds"
	}
	return ""
}

// look adds up the balances while money moves between them: whoever looks sees whole
// transfers, never half of one.
func (s *accounts) look(ctx context.Context, d *txn.DB) (right bool, err error) {
	opts := txn.Options{Label: "demo: sum of balances"}
	sum, err := txn.WithReadTxValue(ctx, d, opts, func(ctx context.Context, rx *txn.ReadTx) (sum money.Minor, err error) {
		err = rx.QueryRow(ctx, "select coalesce(sum(balance_minor), 0)::bigint from accounts where id = any ($1)", s.ids).Scan(&sum)
		return sum, err
	})
	return sum == s.opened(), err
}

// books is what the database holds of these accounts.
type books struct {
	balances   money.Minor // of these accounts
	ledger     money.Minor // their entries
	all        money.Minor // entries of all accounts
	differing  int         // accounts whose balance is not the sum of their entries
	unbalanced int         // transfers whose entries do not sum to zero
}

const booksSQL = `
	select
		(select coalesce(sum(balance_minor), 0) from accounts where id = any ($1))::bigint,
		(select coalesce(sum(amount_minor), 0) from ledger_entries where account_id = any ($1))::bigint,
		(select coalesce(sum(amount_minor), 0) from ledger_entries)::bigint,
		(select count(*) from accounts a where a.kind = 'customer' and a.balance_minor <>
			(select coalesce(sum(amount_minor), 0) from ledger_entries e where e.account_id = a.id)),
		(select count(*) from transfers t where 0 <>
			(select coalesce(sum(amount_minor), 1) from ledger_entries e where e.transfer_id = t.id))`

func (s *accounts) audit(ctx context.Context, tx pgx.Tx, told *tally) (audit, error) {
	var b books
	err := tx.QueryRow(ctx, booksSQL, s.ids).Scan(&b.balances, &b.ledger, &b.all, &b.differing, &b.unbalanced)
	if err != nil {
		return audit{}, err
	}
	stored, err := keysThere(ctx, tx, "select idempotency_key from transfers where kind = 'transfer' and from_account = any ($1)", s.ids)
	return audit{stored, s.moneySums(b, told)}, err
}

// moneySums: transfers move money, they make none.
func (s *accounts) moneySums(b books, t *tally) []sum {
	opened := s.opened()
	return []sum{
		{
			Name: "balances constant", Right: b.balances == opened && t.wrong == 0,
			Found: fmt.Sprintf("%s, opened with %s; %d of %d looks meanwhile saw another sum", b.balances, opened, t.wrong, t.looks),
		},
		{
			Name: "ledger equals balances", Right: b.ledger == b.balances && b.all == 0 && b.differing == 0 && b.unbalanced == 0,
			Found: fmt.Sprintf("%s; %d accounts differ; %d transfers do not sum to zero", b.ledger, b.differing, b.unbalanced),
		},
	}
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// direct is the latency without a proxy.
const direct time.Duration = -1

// A workload is what the contenders do, and between which accounts.
type workload struct {
	name       string
	what       string
	contenders []contender
	next       func(r *rand.Rand) (from, to int64)
	conserves  bool // the sum of all balances
}

const (
	accounts = 10_000
	hot      = 1             // the account that everybody wants
	plenty   = 1_000_000_000 // in each account
)

var workloads = []workload{
	{"transfer", fmt.Sprintf("a transfer between two of %d accounts", accounts), wallet(contenders), anyTwo, true},
	{"hot row", "a transfer between one account, which is in all of them and is locked first, and any other", wallet(contenders), hotAndAny, true},
	{"statement", fmt.Sprintf("one statement, which changes one of %d accounts", accounts), statements, anyTwo, false},
}

// wallet leaves out who needs tables of its own.
func wallet(all []contender) (some []contender) {
	for _, c := range all {
		if !c.books {
			some = append(some, c)
		}
	}
	return some
}

func anyTwo(r *rand.Rand) (from, to int64) {
	from, to = 1+r.Int64N(accounts), 1+r.Int64N(accounts-1)
	if to >= from {
		to++
	}
	return from, to
}

func hotAndAny(r *rand.Rand) (from, to int64) {
	from, to = hot, hot+1+r.Int64N(accounts-hot)
	if r.IntN(2) == 0 {
		from, to = to, from
	}
	return from, to
}

// walletsSQL is the table of those who write their own SQL.
const walletsSQL = "create table wallets (id bigint primary key, balance bigint not null check (balance >= 0))"

// database makes the one that all contenders use, in turn, so that for all it is as full and
// as fragmented. It returns the URL of those who move money.
func database(ctx context.Context, s *pgserver.Server) (url string, err error) {
	const name = "bench"
	err = execAll(ctx, s.AdminURL("postgres"), "create database "+name+" owner "+pgserver.OwnerRole)
	if err != nil {
		return "", err
	}
	err = execAll(ctx, s.OwnerURL(name),
		walletsSQL,
		fmt.Sprintf("insert into wallets select id, %d from generate_series(1, %d) id", plenty, accounts),
		"grant select, update on wallets to "+pgserver.AppRole,
		"vacuum analyze wallets",
	)
	return s.AppURL(name), err
}

func execAll(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%w in: %s", err, sql)
		}
	}
	return nil
}

// total is how much money there is.
func total(ctx context.Context, url string) (sum int64, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "select sum(balance)::bigint from wallets").Scan(&sum)
	return sum, err
}

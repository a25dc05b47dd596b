package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
)

// Problems of package account.
var (
	emailTaken = &problemType{name: "email-taken", status: http.StatusConflict,
		title: "There is a user with the e-mail address"}
	amountNotPositive = &problemType{name: "amount-not-positive", status: http.StatusUnprocessableEntity,
		title: "The amount is not positive"}
	sameAccount = &problemType{name: "same-account", status: http.StatusUnprocessableEntity,
		title: "A transfer needs two different accounts"}
	unknownAccount = &problemType{name: "unknown-account", status: http.StatusNotFound,
		title: "There is no such account"}
	accountNotOpen = &problemType{name: "account-not-open", status: http.StatusConflict,
		title: "The account is frozen or closed"}
	insufficientFunds = &problemType{name: "insufficient-funds", status: http.StatusConflict,
		title: "There is less in the account than the request takes"}
	balanceOverflow = &problemType{name: "balance-overflow", status: http.StatusConflict,
		title: "The account would hold more than it can"}

	accountProblems = []*problemType{
		emailTaken, amountNotPositive, sameAccount, unknownAccount, accountNotOpen, insufficientFunds, balanceOverflow,
	}
)

// accountProblem says what a refusal of package account is for a client, or nil.
func accountProblem(err error) *problem {
	if e, ok := errors.AsType[*account.InsufficientFundsError](err); ok {
		return because(insufficientFunds, err, extension{"account": e.AccountID, "available_minor": e.Available, "needed_minor": e.Needed})
	}
	if e, ok := errors.AsType[*account.NotOpenError](err); ok {
		return because(accountNotOpen, err, extension{"account": e.AccountID, "account_status": e.Status})
	}
	if e, ok := errors.AsType[*account.UnknownAccountError](err); ok {
		return because(unknownAccount, err, extension{"account": e.AccountID})
	}
	if e, ok := errors.AsType[*account.InvalidError](err); ok {
		return invalidOf(e.Field, err)
	}
	return among(accountRefusals, err)
}

var accountRefusals = []refusal{
	{account.ErrEmailTaken, emailTaken},
	{account.ErrAmountNotPositive, amountNotPositive},
	{account.ErrSameAccount, sameAccount},
	{account.ErrBalanceOverflow, balanceOverflow},
	{account.ErrKeyReused, keyReused},
}

func (a *API) accounts() {
	a.handle("POST /users", a.signUp)
	a.handle("POST /transfers", a.transfer)
	a.handle("POST /accounts/{account}/deposits", a.deposit)
	a.handle("POST /accounts/{account}/withdrawals", a.withdraw)
	a.handle("GET /accounts/{account}/balance", a.balance)
	a.handle("GET /accounts/{account}/statement", a.statement)
}

func (a *API) signUp(r *http.Request) (answer, error) {
	var in struct {
		Email string `json:"email"`
		Name  string `json:"name"`
	}
	if err := decode(r, &in, "email", "name"); err != nil {
		return answer{}, err
	}
	whenRepeated(r, "If the repetition is refused because of the e-mail address, the user is there.")
	user, err := account.SignUp(r.Context(), a.db, account.SignUpRequest{Email: in.Email, Name: in.Name})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: struct {
		User    int64 `json:"user"`
		Account int64 `json:"account"`
	}{user.UserID, user.AccountID}}, nil
}

// A receipt is the answer to a request that moved money.
type receipt struct {
	Transfer int64       `json:"transfer"`
	Amount   money.Minor `json:"amount_minor"`
	At       time.Time   `json:"at"`
	Replayed bool        `json:"replayed"` // an earlier request with the key had moved it
}

func received(r account.Receipt, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: receipt{r.TransferID, r.Amount, r.At, r.Replayed}}, nil
}

func (a *API) transfer(r *http.Request) (answer, error) {
	key, err := idempotencyKey(r)
	if err != nil {
		return answer{}, err
	}
	var in struct {
		From   int64       `json:"from"`
		To     int64       `json:"to"`
		Amount money.Minor `json:"amount_minor"`
		Memo   string      `json:"memo"`
	}
	if err := decode(r, &in, "from", "to", "amount_minor"); err != nil {
		return answer{}, err
	}
	return received(account.Transfer(r.Context(), a.db, account.TransferRequest{
		From: in.From, To: in.To, Amount: in.Amount, Key: key, Memo: in.Memo,
	}))
}

// cash is the body of a deposit or withdrawal.
type cash struct {
	Amount money.Minor `json:"amount_minor"`
	Memo   string      `json:"memo"`
}

// cashRequest reads the parts of a deposit or withdrawal.
func cashRequest(r *http.Request) (id int64, key string, in cash, err error) {
	if id, err = pathID(r, "account"); err != nil {
		return 0, "", cash{}, err
	}
	if key, err = idempotencyKey(r); err != nil {
		return 0, "", cash{}, err
	}
	return id, key, in, decode(r, &in, "amount_minor")
}

func (a *API) deposit(r *http.Request) (answer, error) {
	id, key, in, err := cashRequest(r)
	if err != nil {
		return answer{}, err
	}
	return received(account.Deposit(r.Context(), a.db, account.DepositRequest{Account: id, Amount: in.Amount, Key: key, Memo: in.Memo}))
}

func (a *API) withdraw(r *http.Request) (answer, error) {
	id, key, in, err := cashRequest(r)
	if err != nil {
		return answer{}, err
	}
	return received(account.Withdraw(r.Context(), a.db, account.WithdrawRequest{Account: id, Amount: in.Amount, Key: key, Memo: in.Memo}))
}

func (a *API) balance(r *http.Request) (answer, error) {
	id, err := pathID(r, "account")
	if err != nil {
		return answer{}, err
	}
	balance, err := account.Balance(r.Context(), a.db, id)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: struct {
		Account int64       `json:"account"`
		Balance money.Minor `json:"balance_minor"`
	}{id, balance}}, nil
}

// An entry is one of a statement.
type entry struct {
	ID       int64       `json:"id"`
	Transfer int64       `json:"transfer"`
	Kind     string      `json:"kind"`
	Amount   money.Minor `json:"amount_minor"`
	Other    int64       `json:"other_account"`
	Memo     string      `json:"memo"`
	At       time.Time   `json:"at"`
}

func (a *API) statement(r *http.Request) (answer, error) {
	id, err := pathID(r, "account")
	if err != nil {
		return answer{}, err
	}
	before, limit, err := pageOf(r, "before", account.MaxPage)
	if err != nil {
		return answer{}, err
	}
	page, err := account.Statement(r.Context(), a.db, account.StatementRequest{
		Account: id, Before: before, Limit: limit,
	})
	if err != nil {
		return answer{}, err
	}
	entries := make([]entry, len(page.Entries))
	for i, e := range page.Entries {
		entries[i] = entry{e.ID, e.TransferID, string(e.Kind), e.Amount, e.Other, e.Memo, e.At}
	}
	return answer{status: http.StatusOK, body: struct {
		Entries []entry `json:"entries"`
		Next    int64   `json:"next_before,omitempty"` // the next page's before; missing on the last one
	}{entries, page.Next}}, nil
}

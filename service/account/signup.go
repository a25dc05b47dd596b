package account

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/txn"
)

// A SignUpRequest is somebody who wants to become a user.
type SignUpRequest struct {
	Email string // at most 254 characters
	Name  string // 1 to 200 characters; others see it until the user changes the profile
}

// A SignedUp is a new user.
type SignedUp struct {
	UserID    int64
	AccountID int64 // holds the WelcomeBonus
}

// SignUp makes a user with profile, settings, an account that holds the welcome bonus, and the
// job that sends the welcome mail: all of it or nothing. The mail itself is sent when the user
// is committed, by a worker. A user of an e-mail address is made once, so after an unknown
// outcome the call may be repeated. ErrEmailTaken then says that the address has its user:
// by the first call, unless somebody else signed up with it in between.
//
// It locks nothing that was there before, and is right at each isolation level. In a
// transaction of its own it takes three round trips.
//
// It is refused with ErrEmailTaken or ErrInvalid.
func SignUp(ctx context.Context, t txn.Transactor, r SignUpRequest) (SignedUp, error) {
	opts := txn.Options{Label: "account: sign up"}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (SignedUp, error) {
		q := db.New(tx)
		user, err := q.CreateUser(ctx, db.CreateUserParams{Email: r.Email, Name: r.Name})
		if err != nil {
			return SignedUp{}, fmt.Errorf("sign up: %w", refused(err))
		}
		q.Queued().CreateProfile(db.CreateProfileParams{UserID: user.ID, DisplayName: user.Name})
		q.Queued().CreateSettings(user.ID)
		opening, system := q.Queued().CreateAccount(user.ID), q.Queued().GetSystemAccount(codeBonus)
		// What is queued travels with the job, and with COMMIT.
		if err := jobs.Insert(ctx, tx, WelcomeMail{UserID: user.ID}, nil); err != nil {
			return SignedUp{}, fmt.Errorf("sign up: %w", err)
		}
		account, err := opening.Value()
		if err != nil {
			return SignedUp{}, fmt.Errorf("sign up: %w", err)
		}
		// Nobody else sees the account yet, so that it needs no lock.
		bonus, err := welcomeBonus(account.ID).withSystem(system)
		if err != nil {
			return SignedUp{}, fmt.Errorf("sign up: %w", err)
		}
		bonus.record(q.Queued())
		q.Queued().NoteWelcomeBonus(account.ID)
		signedUp := SignedUp{UserID: user.ID, AccountID: account.ID}
		return signedUp, logActivity(q.Queued(), user.ID, "sign_up", fmt.Sprintf("users:%d", user.ID),
			map[string]any{"account_id": account.ID})
	})
}

// logActivity notes what a user did, in the transaction that does it.
func logActivity(q *db.QueuedQueries, user int64, action, entity string, details map[string]any) error {
	object, err := json.Marshal(details)
	if err != nil {
		return fmt.Errorf("log activity: %w", err)
	}
	q.AddActivity(db.AddActivityParams{UserID: user, Action: action, Entity: entity, Details: object})
	return nil
}

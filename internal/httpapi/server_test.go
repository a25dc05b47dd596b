package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// blockedDeposit sends a request that waits for the account's row, and returns when it does.
func (s *site) blockedDeposit(t *testing.T, id int64) (got <-chan answer) {
	t.Helper()
	answers := make(chan answer, 1)
	go func() {
		a, err := s.do(context.WithoutCancel(t.Context()), http.MethodPost, fmt.Sprintf("/accounts/%d/deposits", id),
			`{"amount_minor": 5}`, "Idempotency-Key: k")
		if err != nil {
			a.text = err.Error()
		}
		answers <- a
	}()
	s.blocked(t)
	return answers
}

// Stopped, the server takes no new request, and finishes what it has begun.
func TestStop(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada := s.customer(t)
	release := s.block(t, ada)
	begun := s.blockedDeposit(t, ada)
	s.stop()
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	require.Eventually(t, func() bool {
		resp, err := fresh.Get(s.url + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err != nil
	}, 30*time.Second, 5*time.Millisecond, "it listens for ever")
	select {
	case err := <-s.ended:
		t.Fatalf("Serve returned while a request was at work: %v", err)
	default:
	}
	release()
	a := <-begun
	require.Equal(t, http.StatusCreated, a.status, a.text)
	require.NoError(t, <-s.ended)
	var balance int64
	require.NoError(t, s.admin.QueryRow(t.Context(), "select balance_minor from accounts where id = $1", ada).Scan(&balance))
	require.EqualValues(t, 1005, balance)
}

// What does not finish within the grace is ended, its client is told, and nothing stays.
func TestStopAfterGrace(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{Grace: 100 * time.Millisecond})
	ada := s.customer(t)
	s.block(t, ada)
	begun := s.blockedDeposit(t, ada)
	s.stop()
	requireProblem(t, "stopping", <-begun)
	require.ErrorIs(t, <-s.ended, context.DeadlineExceeded)
	var balance int64
	require.NoError(t, s.admin.QueryRow(t.Context(), "select balance_minor from accounts where id = $1", ada).Scan(&balance))
	require.EqualValues(t, 1000, balance)
}

// A record of a request has its id, and its transactions with label and attempts.
func TestLog(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada := s.customer(t)
	s.proxy.Arm(faultproxy.Fault{SQL: "FindTransferByKey", Do: faultproxy.Fail{SQLState: "40001"}})
	a := s.post(t, fmt.Sprintf("/accounts/%d/deposits", ada), `{"amount_minor": 5}`, "Idempotency-Key: k", "X-Request-ID: from-the-proxy.1")
	require.Equal(t, http.StatusCreated, a.status, a.text)
	require.Equal(t, "from-the-proxy.1", a.header.Get("X-Request-ID"))
	logged := s.log.all(t, "request")
	last := logged[len(logged)-1]
	require.Equal(t, "from-the-proxy.1", last["request_id"])
	require.Equal(t, "POST /accounts/{account}/deposits", last["route"])
	require.EqualValues(t, 201, last["status"])
	transactions := last["transactions"].([]any)
	require.Len(t, transactions, 1)
	first := transactions[0].(map[string]any)
	require.Equal(t, "account: deposit", first["label"])
	require.EqualValues(t, 2, first["attempts"])
	require.Equal(t, "committed", first["outcome"])

	// An id that somebody could write records with is not taken over.
	a = s.post(t, "/users", `{}`, "X-Request-ID: {\"a\": 1}")
	require.Regexp(t, `^[A-Z2-7]{26}$`, a.header.Get("X-Request-ID"))

	// What package txn itself says belongs to the request, too.
	s.proxy.Arm(faultproxy.Fault{SQL: "FindTransferByKey", Do: faultproxy.Fail{SQLState: "XX000"}})
	a = s.post(t, fmt.Sprintf("/accounts/%d/deposits", ada), `{"amount_minor": 5}`, "Idempotency-Key: l")
	requireProblem(t, "internal", a)
	warnings := s.log.all(t, "transaction")
	require.Equal(t, a.header.Get("X-Request-ID"), warnings[len(warnings)-1]["request_id"])
}

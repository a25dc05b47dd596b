package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
)

func TestMoney(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada, bob := s.customer(t), s.customer(t)

	body := fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": 250, "memo": "Lunch"}`, ada, bob)
	first := s.post(t, "/transfers", body, "Idempotency-Key: lunch")
	require.Equal(t, http.StatusCreated, first.status, first.text)
	require.Equal(t, "application/json", first.header.Get("Content-Type"))
	require.EqualValues(t, 250, first.number("amount_minor"))
	require.Equal(t, false, first.body["replayed"])
	again := s.post(t, "/transfers", body, "Idempotency-Key: lunch")
	require.Equal(t, http.StatusCreated, again.status)
	require.Equal(t, true, again.body["replayed"])
	for _, name := range []string{"transfer", "amount_minor", "at"} {
		require.Equal(t, first.body[name], again.body[name])
	}
	require.EqualValues(t, 750, s.balance(t, ada))
	require.EqualValues(t, 1250, s.balance(t, bob))

	deposits, withdrawals := fmt.Sprintf("/accounts/%d/deposits", ada), fmt.Sprintf("/accounts/%d/withdrawals", ada)
	for range 2 {
		a := s.post(t, deposits, `{"amount_minor": 50}`, "Idempotency-Key: in")
		require.Equal(t, http.StatusCreated, a.status, a.text)
		a = s.post(t, withdrawals, `{"amount_minor": 700, "memo": null}`, "Idempotency-Key: out")
		require.Equal(t, http.StatusCreated, a.status, a.text)
	}
	require.EqualValues(t, 100, s.balance(t, ada))

	// Two pages of the four entries, newest first.
	page := s.get(t, fmt.Sprintf("/accounts/%d/statement?limit=3", ada))
	require.Equal(t, http.StatusOK, page.status, page.text)
	amounts := func(a answer) (list []string) {
		for _, e := range a.body["entries"].([]any) {
			list = append(list, fmt.Sprint(e.(map[string]any)["kind"], " ", e.(map[string]any)["amount_minor"]))
		}
		return list
	}
	require.Equal(t, []string{"withdrawal -700", "deposit 50", "transfer -250"}, amounts(page))
	page = s.get(t, fmt.Sprintf("/accounts/%d/statement?limit=3&before=%d", ada, page.number("next_before")))
	require.Equal(t, []string{"welcome_bonus 1000"}, amounts(page))
	require.NotContains(t, page.body, "next_before", "the last page")
}

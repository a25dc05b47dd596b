package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
)

func TestOrders(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada := s.userOf(t, s.customer(t))
	mug, tray := s.product(t, "Mug", 650, 10), s.product(t, "Tray", 1200, 1)
	place := func(user int64, items, more string) string {
		return fmt.Sprintf(`{"user": %d, "items": [%s], "address": %s, "method": "card"%s}`, user, items, someAddress, more)
	}
	item := func(product, quantity int64) string {
		return fmt.Sprintf(`{"product": %d, "quantity": %d}`, product, quantity)
	}
	const key = "Idempotency-Key: cart-2"

	body := place(ada, item(mug, 2)+", "+item(tray, 1), "")
	first := s.post(t, "/orders", body, "Idempotency-Key: cart-1")
	require.Equal(t, http.StatusCreated, first.status, first.text)
	require.EqualValues(t, 2500, first.number("total_minor"))
	require.Equal(t, false, first.body["replayed"])
	again := s.post(t, "/orders", body, "Idempotency-Key: cart-1")
	require.Equal(t, http.StatusCreated, again.status, "though the tray is gone: %s", again.text)
	require.Equal(t, true, again.body["replayed"])
	require.Equal(t, first.body["order"], again.body["order"])
	require.Equal(t, []string{fmt.Sprintf(`order.charge of order %d`, first.number("order"))}, s.charges(t), "it is left to a worker, once")

	path := fmt.Sprintf("/orders/%d", first.number("order"))
	update := func(body string) answer {
		a, err := s.do(t.Context(), http.MethodPatch, path, body)
		require.NoError(t, err)
		return a
	}
	a := update(`{"note": "Ring twice"}`)
	require.Equal(t, http.StatusOK, a.status, a.text)
	require.EqualValues(t, 2, a.number("version"))

	sold := s.product(t, "Sold no more", 100, 10)
	dear := s.product(t, "Dear", 9_000_000_000_000_000_000, 10)
	gone := s.userOf(t, s.customer(t))
	for _, sql := range []string{
		fmt.Sprintf("update products set active = false where id = %d", sold),
		fmt.Sprintf("update users set active = false where id = %d", gone),
	} {
		_, err := s.admin.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	for name, c := range map[string]refused{
		"no key":            {path: "/orders", body: body, problem: "idempotency-key-missing"},
		"a key of another":  {path: "/orders", body: place(ada, item(mug, 3), ""), headers: []string{"Idempotency-Key: cart-1"}, problem: "idempotency-key-reused"},
		"no items":          {path: "/orders", body: place(ada, "", ""), headers: []string{key}, problem: "invalid-request", members: map[string]string{"field": "items"}},
		"another method":    {path: "/orders", body: strings.Replace(body, "card", "shells", 1), headers: []string{key}, problem: "invalid-request", members: map[string]string{"field": "method"}},
		"half an address":   {path: "/orders", body: strings.Replace(body, "London", "", 1), headers: []string{key}, problem: "invalid-request", members: map[string]string{"field": "address.city"}},
		"a field too many":  {path: "/orders", body: strings.Replace(body, `"quantity"`, `"price": 1, "quantity"`, 1), headers: []string{key}, problem: "malformed-request"},
		"an item's twice":   {path: "/orders", body: strings.Replace(body, `"quantity"`, `"quantity": 1, "quantity"`, 1), headers: []string{key}, problem: "malformed-request", members: map[string]string{"field": "quantity"}},
		"a note too long":   {path: "/orders", body: place(ada, item(mug, 1), `, "note": "`+strings.Repeat("n", 501)+`"`), headers: []string{key}, problem: "invalid-request", members: map[string]string{"field": "note"}},
		"less than nothing": {path: "/orders", body: place(ada, item(mug, -1), ""), headers: []string{key}, problem: "quantity-not-possible", members: map[string]string{"product": fmt.Sprint(mug), "quantity": "-1"}},
		"more than there is": {path: "/orders", body: place(ada, item(mug, 9), ""), headers: []string{key}, problem: "insufficient-stock",
			members: map[string]string{"product": fmt.Sprint(mug), "available": "8", "needed": "9"}},
		"no such product":  {path: "/orders", body: place(ada, item(9999, 1), ""), headers: []string{key}, problem: "unknown-product", members: map[string]string{"product": "9999"}},
		"not sold":         {path: "/orders", body: place(ada, item(sold, 1), ""), headers: []string{key}, problem: "product-inactive", members: map[string]string{"product": fmt.Sprint(sold)}},
		"nobody":           {path: "/orders", body: place(9999, item(mug, 1), ""), headers: []string{key}, problem: "unknown-user", members: map[string]string{"user": "9999"}},
		"who left":         {path: "/orders", body: place(gone, item(mug, 1), ""), headers: []string{key}, problem: "user-inactive", members: map[string]string{"user": fmt.Sprint(gone)}},
		"beyond all":       {path: "/orders", body: place(ada, item(dear, 2), ""), headers: []string{key}, problem: "total-overflow"},
		"no such order":    {method: http.MethodPatch, path: "/orders/9999", body: `{"note": "n"}`, problem: "unknown-order", members: map[string]string{"order": "9999"}},
		"an update's text": {method: http.MethodPatch, path: path, body: `{"note": "\u0000"}`, problem: "invalid-request", members: map[string]string{"field": "note"}},
	} {
		t.Run(name, func(t *testing.T) { s.requireRefused(t, c) })
	}

	cart := s.post(t, "/orders", place(ada, item(mug, 8), ""), key)
	require.Equal(t, http.StatusCreated, cart.status, cart.text)
	cancel := func(path string) answer {
		a, err := s.do(t.Context(), http.MethodDelete, path, "")
		require.NoError(t, err)
		return a
	}
	for _, replayed := range []bool{false, true} {
		a := cancel(fmt.Sprintf("/orders/%d", cart.number("order")))
		require.Equal(t, http.StatusOK, a.status, a.text)
		require.Equal(t, "cancelled", a.body["status"])
		require.Equal(t, replayed, a.body["replayed"])
	}
	cart = s.post(t, "/orders", place(ada, item(mug, 8), ""), "Idempotency-Key: cart-3")
	require.Equal(t, http.StatusCreated, cart.status, "the goods are back: %s", cart.text)
	requireProblem(t, "unknown-order", cancel("/orders/9999"))

	_, err := s.admin.Exec(t.Context(), "update orders set status = 'paid' where id = $1", first.number("order"))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, update(`{"note": "Ring once"}`).status)
	_, err = s.admin.Exec(t.Context(), "update orders set status = 'shipped' where id = $1", first.number("order"))
	require.NoError(t, err)
	a = update(`{"note": "Do not ring"}`)
	requireProblem(t, "order-not-changeable", a)
	require.Equal(t, "shipped", a.body["order_status"])
	a = cancel(path)
	requireProblem(t, "order-state", a)
	require.Equal(t, "shipped", a.body["order_status"])
}

// charges are the jobs that ask a payment provider, oldest first.
func (s *site) charges(t *testing.T) []string {
	t.Helper()
	rows, err := s.admin.Query(t.Context(), `
		select format('%s of order %s', j.kind, p.order_id)
		from river.river_job j join payments p on p.id = (j.args ->> 'payment_id')::bigint order by j.id`)
	require.NoError(t, err)
	charges, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return charges
}

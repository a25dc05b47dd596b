package payment_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/payment"
	"github.com/interlock-go/interlock/service/order"
)

// newClient returns a client of a server that answers by handle.
func newClient(t *testing.T, timeout time.Duration, handle http.HandlerFunc) *payment.Client {
	t.Helper()
	t.Parallel()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	c, err := payment.NewClient(payment.Config{URL: server.URL + "/v1/", Currency: "EUR", Token: "secret", Timeout: timeout})
	require.NoError(t, err)
	return c
}

func TestRequests(t *testing.T) {
	var seen []string
	c := newClient(t, 0, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		seen = append(seen, strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"),
			r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)}, " "))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"reference": "ref-1", "amount_minor": 1250}`)
	})
	receipt, err := c.Charge(t.Context(), order.ChargeRequest{Key: "payment/7", UserID: 7, Amount: 1250, Method: "card"})
	require.NoError(t, err)
	require.Equal(t, order.ProviderReceipt{Reference: "ref-1"}, receipt)
	receipt, err = c.Refund(t.Context(), order.ProviderRefund{Key: "refund/7", Charge: "ref-0", Amount: 1250})
	require.NoError(t, err)
	require.Equal(t, order.ProviderReceipt{Reference: "ref-1"}, receipt)
	require.Equal(t, []string{
		`POST /v1/charges payment/7 Bearer secret application/json {"amount_minor":1250,"currency":"EUR","customer":7,"method":"card"}`,
		`POST /v1/refunds refund/7 Bearer secret application/json {"amount_minor":1250,"currency":"EUR","charge":"ref-0"}`,
	}, seen)
}

// Only an answer that says so is a success or a refusal. After all others nobody knows, and
// the request is to be sent again.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   error // nil: any that is not a *DeclinedError
	}{
		"declined":          {402, `{"code": "card_expired"}`, &order.DeclinedError{Code: "card_expired"}},
		"declined, no code": {402, `{}`, payment.ErrAnswer},
		"long code":         {402, `{"code": "` + strings.Repeat("c", 101) + `"}`, payment.ErrAnswer},
		"bad request":       {400, `{"code": "bad"}`, &payment.StatusError{Status: 400}},
		"conflict":          {409, `{}`, &payment.StatusError{Status: 409}},
		"down":              {503, `<html>`, &payment.StatusError{Status: 503}},
		"redirect":          {307, ``, &payment.StatusError{Status: 307}},
		"accepted":          {202, `{"reference": "r", "amount_minor": 1250}`, &payment.StatusError{Status: 202}},
		"no JSON":           {200, `ok`, payment.ErrAnswer},
		"no reference":      {200, `{"amount_minor": 1250}`, payment.ErrAnswer},
		"long reference":    {200, `{"reference": "` + strings.Repeat("r", 201) + `", "amount_minor": 1250}`, payment.ErrAnswer},
		"another amount":    {200, `{"reference": "r", "amount_minor": 1251}`, payment.ErrAnswer},
		"too long":          {200, `{"reference": "r", "amount_minor": 1250, "x": "` + strings.Repeat("x", 64<<10) + `"}`, payment.ErrAnswer},
		"cut off":           {200, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, 0, func(w http.ResponseWriter, _ *http.Request) {
				if name == "cut off" {
					w.Header().Set("Content-Length", "100")
				}
				if c.status == http.StatusTemporaryRedirect {
					w.Header().Set("Location", "/elsewhere")
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			receipt, err := client.Charge(t.Context(), order.ChargeRequest{Key: "k", Amount: 1250, Method: "card"})
			require.Error(t, err)
			require.Zero(t, receipt)
			declined, isDeclined := errors.AsType[*order.DeclinedError](err)
			require.Equal(t, name == "declined", isDeclined, "%v", err)
			switch want := c.want.(type) {
			case nil:
			case *order.DeclinedError:
				require.Equal(t, want, declined)
			case *payment.StatusError:
				got, ok := errors.AsType[*payment.StatusError](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, want, got)
			default:
				require.ErrorIs(t, err, c.want)
			}
			require.NotContains(t, err.Error(), "127.0.0.1")
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

// Whoever is named in a redirect gets neither the request nor the token.
func TestRedirectIsNotFollowed(t *testing.T) {
	c := newClient(t, 0, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/charges" {
			_, _ = io.WriteString(w, `{"reference": "r", "amount_minor": 1250}`)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := c.Charge(t.Context(), order.ChargeRequest{Key: "k", Amount: 1250, Method: "card"})
	require.Equal(t, &payment.StatusError{Status: http.StatusTemporaryRedirect}, errors.Unwrap(err))
}

// A provider that does not answer in time may have charged all the same.
func TestTimeout(t *testing.T) {
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	c := newClient(t, 20*time.Millisecond, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-gone:
		case <-r.Context().Done():
		}
	})
	_, err := c.Charge(t.Context(), order.ChargeRequest{Key: "k", Amount: 1, Method: "card"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, order.ErrDeclined)
	require.NotContains(t, err.Error(), "127.0.0.1")
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]payment.Config{
		"none":        {Currency: "EUR"},
		"unparseable": {URL: "http://user:secret@[::1", Currency: "EUR"},
		"relative":    {URL: "/v1", Currency: "EUR"},
		"scheme":      {URL: "ftp://pay.example.com", Currency: "EUR"},
		"credentials": {URL: "https://user:secret@pay.example.com", Currency: "EUR"},
		"query":       {URL: "https://pay.example.com?key=secret", Currency: "EUR"},
		"currency":    {URL: "https://pay.example.com"},
		"timeout":     {URL: "https://pay.example.com", Currency: "EUR", Timeout: -1},
	} {
		_, err := payment.NewClient(c)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
}

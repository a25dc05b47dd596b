package payment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
)

// DefaultTimeout is how long a request may take.
const DefaultTimeout = 30 * time.Second

// maxBody is how much of an answer is read, in bytes.
const maxBody = 64 << 10

// A Config says where a provider is.
type Config struct {
	URL       string            // of the provider's interface, http or https, without credentials
	Currency  string            // of the books, ISO 4217
	Token     string            // sent as a bearer token; "" for none
	Timeout   time.Duration     // of a request, the reading of its answer included; zero is DefaultTimeout
	Transport http.RoundTripper // nil is http.DefaultTransport
}

// A Client is an order.PaymentProvider. It is safe for concurrent use.
type Client struct {
	base     *url.URL
	currency string
	token    string
	http     http.Client
}

var _ order.PaymentProvider = (*Client)(nil)

// NewClient makes a client. It sends nothing.
func NewClient(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		return nil, errors.New("payment: the provider's URL cannot be parsed") // url.Error would show it whole
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, errors.New("payment: the provider's URL is not an absolute one of http or https")
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("payment: the provider's URL has credentials, a query or a fragment")
	case len(cfg.Currency) != 3:
		return nil, errors.New("payment: the currency is not a code of three letters")
	case cfg.Timeout < 0:
		return nil, errors.New("payment: the timeout is negative")
	case cfg.Timeout == 0:
		cfg.Timeout = DefaultTimeout
	}
	return &Client{base: base, currency: cfg.Currency, token: cfg.Token, http: http.Client{
		Transport: cfg.Transport,
		Timeout:   cfg.Timeout,
		// A redirect would send the request, and the token, to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// A StatusError is returned when the provider answered with a status that says neither done
// nor declined. Whether it has done anything is not known.
type StatusError struct {
	Status int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("payment: the provider answered %d %s", e.Status, http.StatusText(e.Status))
}

// ErrAnswer is returned when the provider's answer cannot be understood, or is not about the
// amount that was asked for. Whether it has done anything is not known.
var ErrAnswer = errors.New("payment: the provider's answer is not as agreed")

type request struct {
	Amount   money.Minor `json:"amount_minor"`
	Currency string      `json:"currency"`
	Customer int64       `json:"customer,omitempty"`
	Method   string      `json:"method,omitempty"`
	Charge   string      `json:"charge,omitempty"`
}

type answer struct {
	Reference string      `json:"reference"`
	Amount    money.Minor `json:"amount_minor"`
	Code      string      `json:"code"`
}

// Charge asks the provider for money, once for each key.
func (c *Client) Charge(ctx context.Context, r order.ChargeRequest) (order.ProviderReceipt, error) {
	receipt, err := c.post(ctx, "charges", r.Key, request{
		Amount: r.Amount, Currency: c.currency, Customer: r.UserID, Method: string(r.Method),
	})
	if err != nil {
		return order.ProviderReceipt{}, fmt.Errorf("charge: %w", err)
	}
	return receipt, nil
}

// Refund gives money back, once for each key.
func (c *Client) Refund(ctx context.Context, r order.ProviderRefund) (order.ProviderReceipt, error) {
	receipt, err := c.post(ctx, "refunds", r.Key, request{Amount: r.Amount, Currency: c.currency, Charge: r.Charge})
	if err != nil {
		return order.ProviderReceipt{}, fmt.Errorf("refund: %w", err)
	}
	return receipt, nil
}

func (c *Client) post(ctx context.Context, path, key string, body request) (receipt order.ProviderReceipt, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return receipt, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return receipt, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Idempotency-Key", key)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return receipt, withoutURL(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusPaymentRequired:
	default:
		_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // so that the connection can be used again
		return receipt, &StatusError{Status: resp.StatusCode}
	}
	a, err := read(resp.Body)
	if err != nil {
		return receipt, err
	}
	if resp.StatusCode == http.StatusPaymentRequired {
		if a.Code == "" || len(a.Code) > 100 {
			return receipt, fmt.Errorf("%w: declined with a code of %d bytes", ErrAnswer, len(a.Code))
		}
		return receipt, &order.DeclinedError{Code: a.Code}
	}
	switch {
	case a.Reference == "" || len(a.Reference) > 200:
		return receipt, fmt.Errorf("%w: a reference of %d bytes", ErrAnswer, len(a.Reference))
	case a.Amount != body.Amount:
		return receipt, fmt.Errorf("%w: %s for %s", ErrAnswer, a.Amount, body.Amount)
	}
	return order.ProviderReceipt{Reference: a.Reference}, nil
}

// read reads an answer of at most maxBody bytes.
func read(body io.Reader) (a answer, err error) {
	text, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return a, withoutURL(err)
	}
	if len(text) > maxBody {
		return a, fmt.Errorf("%w: more than %d bytes", ErrAnswer, maxBody)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return a, nil
}

// withoutURL is what went wrong, without the address, which errors of net/http begin with.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Package payment speaks to a payment provider over HTTP.
//
//	provider, err := payment.NewClient(payment.Config{URL: "https://pay.example.com/v1", Currency: "EUR", Token: token})
//
// A charge is a POST to URL/charges, a refund one to URL/refunds, with amounts in minor units
// in a body of JSON, and the header Idempotency-Key, by which the provider makes one effect of
// a request that is sent again. What an answer means:
//
//	200, 201   done; the body has the reference and, once more, the amount
//	402        declined for good; the body has the code
//	others     not known: the request has to be sent again, with the same key
//
// An answer that never comes, is too long, or speaks of another amount is not known either.
package payment

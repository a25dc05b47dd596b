// Package httpapi offers the services by HTTP: an example of a program on top of them, and the
// part of one where errors become what a client can act upon.
//
//	api := httpapi.New(httpapi.Config{DB: d, Logger: logger})
//	err := api.Serve(ctx, listener)
//
// docs/http.md has the routes and the problems.
//
// # What a client may repeat
//
// Requests that move money or goods carry an Idempotency-Key. A client that got no answer, or a
// 503, sends the same request with the same key again, as often as it likes: the services carry
// it out once, and answer the second time as they did the first. A key that comes back with
// another request is refused.
//
// # Problems
//
// Refusals and failures are problem details (RFC 9457). Their types are a list in problem.go,
// each with a status that is always the same; a test compares it with the page. Errors of the
// services are told apart by errors.Is and errors.As, and what clients get is this package's own
// text: what the server or a driver said goes to the log alone.
//
// # Logging
//
// Each request is one record: its id, route, status, and the transactions it ran, with their
// labels and attempts, from an Observer. LogHandler adds the request's id to the records that
// others write under its context.
//
// There is no authentication: who stands in front of the API decides whose accounts a request
// may name.
package httpapi

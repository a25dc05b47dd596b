package httpapi

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// A problemType is a kind of problem that a client can tell from others.
type problemType struct {
	name   string // the last part of its URI
	status int
	title  string
	detail string // where an occurrence has none of its own: what to do

	// again says that the same request may succeed later.
	again bool
}

// Problems of requests that cannot be right, whatever the database holds.
var (
	malformed = &problemType{name: "malformed-request", status: http.StatusBadRequest,
		title: "The request is not what it has to be"}
	keyMissing = &problemType{name: "idempotency-key-missing", status: http.StatusBadRequest,
		title:  "An Idempotency-Key is missing",
		detail: "Choose a key for the request, send it in the header Idempotency-Key, and send the same one if you repeat the request."}
	keyInvalid = &problemType{name: "idempotency-key-invalid", status: http.StatusBadRequest,
		title:  "The Idempotency-Key is not possible",
		detail: "A key is one header of 1 to 190 visible ASCII characters."}
	crossOrigin = &problemType{name: "cross-origin", status: http.StatusForbidden,
		title: "A page of another origin may not do this"}
	notFound = &problemType{name: "not-found", status: http.StatusNotFound,
		title: "There is nothing here"}
	methodNotAllowed = &problemType{name: "method-not-allowed", status: http.StatusMethodNotAllowed,
		title: "The method is not possible here", detail: "The header Allow has those that are."}
	tooLarge = &problemType{name: "request-too-large", status: http.StatusRequestEntityTooLarge,
		title: "The request's body is too large"}
	mediaType = &problemType{name: "unsupported-media-type", status: http.StatusUnsupportedMediaType,
		title: "The request's body is not JSON", detail: "Send it as application/json, in UTF-8."}
	invalid = &problemType{name: "invalid-request", status: http.StatusUnprocessableEntity,
		title: "A field of the request is not possible"}
	keyReused = &problemType{name: "idempotency-key-reused", status: http.StatusUnprocessableEntity,
		title:  "The Idempotency-Key belongs to another request",
		detail: "Nothing was done now, and what was done then is unchanged. Choose a new key for a new request."}
)

// Problems that are nobody's fault, or the server's.
var (
	busy = &problemType{name: "busy", status: http.StatusServiceUnavailable, again: true,
		title:  "The database is busy or out of reach: repeat the request",
		detail: undone}
	late = &problemType{name: "timeout", status: http.StatusServiceUnavailable, again: true,
		title:  "It would have taken too long: repeat the request",
		detail: undone}
	stopping = &problemType{name: "stopping", status: http.StatusServiceUnavailable, again: true,
		title:  "The server stops: repeat the request",
		detail: undone}
	unready = &problemType{name: "not-ready", status: http.StatusServiceUnavailable, again: true,
		title: "The server cannot do its work at the moment"}
	unknownOutcome = &problemType{name: "unknown-outcome", status: http.StatusServiceUnavailable, again: true,
		title:  "Unknown outcome: repeat with the same Idempotency-Key",
		detail: "The request may have been carried out, or not. With the same key it is carried out once, however often it is sent."}
	unknownNoKey = &problemType{name: "unknown-outcome-without-key", status: http.StatusServiceUnavailable, again: true,
		title:  "Unknown outcome: repeat the request",
		detail: "The request may have been carried out, or not."}
	answerLost = &problemType{name: "answer-lost", status: http.StatusServiceUnavailable, again: true,
		title:  "The request was carried out, and its answer is lost: repeat the request",
		detail: "Send it again as it is, with the same Idempotency-Key if it has one: it is answered, and not carried out again."}
	internal = &problemType{name: "internal", status: http.StatusInternalServerError,
		title:  "The server failed",
		detail: "The server's log has the reason, under the id in the header " + requestIDHeader + ". To repeat the request with the same Idempotency-Key is safe."}
	gone = &problemType{name: "client-gone", status: 499, // as nginx has it in its log
		title: "The client did not wait for the answer"}
)

const undone = "This one changed nothing. Send it again as it is, with the same Idempotency-Key if it has one."

// problemTypes are all there are.
var problemTypes = slices.Concat([]*problemType{
	malformed, keyMissing, keyInvalid, crossOrigin, notFound, methodNotAllowed, tooLarge, mediaType, invalid, keyReused,
	busy, late, stopping, unready, unknownOutcome, unknownNoKey, answerLost, internal, gone,
}, accountProblems, orderProblems, bookingProblems, blogProblems)

// A refusal is an error of a service, and what it is for a client.
type refusal struct {
	is error
	t  *problemType
}

// among is the problem that an error is by a list, or nil.
func among(list []refusal, err error) *problem {
	for _, r := range list {
		if errors.Is(err, r.is) {
			return because(r.t, err, nil)
		}
	}
	return nil
}

// uri identifies the type, and has it described (RFC 9457, 3.1.1).
func (t *problemType) uri() string { return "/problems/" + t.name }

// A problem is an occurrence of one.
type problem struct {
	*problemType
	detail string // for this occurrence; "" for the type's
	more   extension
	cause  error // for the log
}

// An extension holds members of a problem besides the standard's.
type extension map[string]any

func (p *problem) Error() string { return p.title }
func (p *problem) Unwrap() error { return p.cause }

// refuse is a problem with a detail of its own, or "".
func refuse(t *problemType, detail string) *problem { return &problem{problemType: t, detail: detail} }

// because is t for an error, whose text does not go to the client.
func because(t *problemType, cause error, more extension) *problem {
	return &problem{problemType: t, cause: cause, more: more}
}

// problemAnswer is the answer to a request that failed, and notes it in the request's record.
func problemAnswer(r *http.Request, err error) answer {
	p := problemOf(r.Context(), err)
	rec := recordOf(r.Context())
	rec.problem = p.name
	if p.status >= http.StatusInternalServerError {
		rec.err = p.cause
	}
	body := extension{}
	maps.Copy(body, p.more)
	body["type"], body["title"], body["status"] = p.uri(), p.title, p.status
	body["instance"] = r.URL.EscapedPath() + "#" + rec.id
	if detail := cmp.Or(p.detail, p.problemType.detail); detail != "" {
		body["detail"] = detail
	}
	got := answer{status: p.status, body: body, contentType: "application/problem+json"}
	if p.again {
		got.retryAfter = time.Second
	}
	return got
}

// A lateError is one of a request whose time was over.
type lateError struct{ err error }

func (e *lateError) Error() string { return e.err.Error() }
func (e *lateError) Unwrap() error { return e.err }

// problemOf says what an error is for a client. What is known of the outcome comes first: such
// an error may wrap any other.
func problemOf(ctx context.Context, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if _, ok := errors.AsType[*txn.CommitUnknownError](err); ok {
		rec := recordOf(ctx)
		if rec.keyed {
			return because(unknownOutcome, err, nil)
		}
		return &problem{problemType: unknownNoKey, detail: unknownNoKey.detail + " " + rec.repeated, cause: err}
	}
	if _, ok := errors.AsType[*txn.HookError](err); ok || errors.Is(err, txn.ErrAnswerLost) {
		return because(answerLost, err, nil)
	}
	for _, of := range []func(error) *problem{accountProblem, orderProblem, bookingProblem, blogProblem} {
		if p := of(err); p != nil {
			return p
		}
	}
	if errors.Is(context.Cause(ctx), errStopping) {
		return because(stopping, err, nil)
	}
	if ctx.Err() != nil {
		return because(gone, err, nil)
	}
	if _, ok := errors.AsType[*lateError](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return because(late, err, nil)
	}
	if _, ok := errors.AsType[*txn.RetriesExhaustedError](err); ok || txn.IsRetryable(err) ||
		errors.Is(err, txn.ErrAcquireTimeout) || errors.Is(err, txn.ErrLockNotAvailable) {
		return because(busy, err, nil)
	}
	return because(internal, err, nil)
}

// describe is what a type's URI leads to.
func describe(r *http.Request) (answer, error) {
	for _, t := range problemTypes {
		if t.name == r.PathValue("name") {
			return answer{status: http.StatusOK, body: struct {
				Type   string `json:"type"`
				Status int    `json:"status"`
				Title  string `json:"title"`
				Detail string `json:"detail,omitempty"`
			}{t.uri(), t.status, t.title, t.detail}}, nil
		}
	}
	return answer{}, refuse(notFound, "")
}

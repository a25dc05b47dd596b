package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBody bounds a request's body, in bytes: a post may have 100000 characters.
const maxBody = 1 << 20

// keyHeader has the client's name for its request.
const keyHeader = "Idempotency-Key"

// keyPrefix keeps clients' keys apart from those of other programs with the same services.
const keyPrefix = "http:"

// possibleKey leaves room for keyPrefix in the 200 characters that the services allow.
var possibleKey = regexp.MustCompile(`^[!-~]{1,190}$`)

// idempotencyKey is the request's key, as the services get it.
func idempotencyKey(r *http.Request) (string, error) {
	switch given := r.Header.Values(keyHeader); {
	case len(given) == 0:
		return "", refuse(keyMissing, "")
	case len(given) > 1, !possibleKey.MatchString(given[0]):
		return "", refuse(keyInvalid, "")
	default:
		recordOf(r.Context()).keyed = true
		return keyPrefix + given[0], nil
	}
}

// whenRepeated says what a client learns that repeats the request because its outcome is
// unknown, and has no key.
func whenRepeated(r *http.Request, shows string) { recordOf(r.Context()).repeated = shows }

// pathID is an id in the request's path. What is none names nothing.
func pathID(r *http.Request, name string) (int64, error) {
	text := r.PathValue(name)
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 || strconv.FormatInt(id, 10) != text {
		return 0, refuse(notFound, "")
	}
	return id, nil
}

// queryInt is a parameter of the request's query, zero if it is not there.
func queryInt(r *http.Request, name string) (int64, error) {
	values := r.URL.Query()[name]
	if len(values) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || n < 0 || len(values) > 1 {
		return 0, invalidField(name, "It is a whole number from 0, once.")
	}
	return n, nil
}

// pageOf reads where a page of a list begins, and how long it is.
func pageOf(r *http.Request, from string, most int64) (start int64, limit int, err error) {
	if err := onlyQuery(r, from, "limit"); err != nil {
		return 0, 0, err
	}
	if start, err = queryInt(r, from); err != nil {
		return 0, 0, err
	}
	n, err := queryInt(r, "limit")
	return start, int(min(n, most)), err
}

// onlyQuery refuses parameters that mean nothing, such as a misspelt one, and a query that cannot
// be read: Query would leave out what it does not understand.
func onlyQuery(r *http.Request, names ...string) error {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &problem{problemType: malformed, detail: "The query cannot be read.", cause: err}
	}
	for name := range given {
		if !slices.Contains(names, name) {
			return invalidField(name, "There is no such parameter.")
		}
	}
	return nil
}

// invalidField is a field that cannot be right; its name is the client's.
func invalidField(name, detail string) *problem {
	p := refuse(invalid, detail)
	if name != "" {
		p.more = extension{"field": name}
	}
	return p
}

// fieldNames are what requests call the fields of the services' requests, where that is not the
// same name in small letters.
var fieldNames = map[string]string{
	"Key": keyHeader, "SeatsPerUser": "seats_per_user", "Address.PostalCode": "address.postal_code",
}

// invalidOf is a field of a service's request that cannot be right.
func invalidOf(field string, err error) *problem {
	name, ok := fieldNames[field]
	if !ok {
		name = strings.ToLower(field)
	}
	p := invalidField(name, "It is missing, too short or too long, or has a value or characters that it cannot have.")
	p.cause = err
	return p
}

// decode reads the request's body into v, a struct with a json tag for each field. It takes one
// JSON object with those fields, each once at most and spelt as in the tag, and the required ones
// not null; and nothing behind it.
func decode(r *http.Request, v any, required ...string) error {
	if err := isJSON(r); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return refuse(tooLarge, fmt.Sprintf("The largest body is one of %d bytes.", maxBody))
		}
		return &problem{problemType: malformed, detail: "The body did not arrive.", cause: err}
	}
	if !utf8.Valid(body) {
		return refuse(malformed, "The body is not UTF-8.")
	}
	if err := unambiguous(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return malformedJSON(err)
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(body, &given); err != nil { // also if something follows
		return malformedJSON(err)
	}
	for _, name := range required {
		if value, ok := given[name]; !ok || string(value) == "null" {
			return invalidField(name, "The field is required.")
		}
	}
	if given == nil { // the body is null
		return malformedJSON(nil)
	}
	return nil
}

func isJSON(r *http.Request) error {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, ok := params["charset"]; err != nil || media != "application/json" || ok && !strings.EqualFold(charset, "utf-8") {
		return refuse(mediaType, "")
	}
	return nil
}

// malformedJSON says what is wrong with a body in words of this package. The decoder's may quote
// what the client sent, and speak of Go.
func malformedJSON(err error) *problem {
	p := &problem{problemType: malformed, detail: "The body is not one JSON object with the fields of this request, and nothing else.", cause: err}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		p.detail = "The field has a value of another type. Amounts and ids are whole numbers."
		p.more = extension{"field": e.Field}
	}
	return p
}

// unambiguous refuses what the decoder would take and other readers take otherwise: a name that
// an object has twice, and names in capital letters.
func unambiguous(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // of any size: its field says what fits
	return walk(d, maxDepth)
}

// fieldName is what all fields are called like.
var fieldName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// maxDepth is deeper than any request is, and keeps a body of brackets from the stack.
const maxDepth = 16

func walk(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return malformedJSON(err)
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == 0 {
		return refuse(malformed, "The body is nested too deeply.")
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			name, err := d.Token()
			if err != nil {
				return malformedJSON(err)
			}
			text, _ := name.(string)
			switch {
			case !fieldName.MatchString(text):
				return refuse(malformed, "There is a field that this request does not have.")
			case seen[text]:
				return &problem{problemType: malformed, detail: "The field is there twice.", more: extension{"field": text}}
			}
			seen[text] = true
		}
		if err := walk(d, depth-1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // its end
		return malformedJSON(err)
	}
	return nil
}

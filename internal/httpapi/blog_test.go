package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
)

func TestPosts(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada, bob := s.userOf(t, s.customer(t)), s.userOf(t, s.customer(t))
	content := strings.Repeat("Engines weave patterns. ", 10)
	create := func(author int64, title, content string) string {
		return fmt.Sprintf(`{"author": %d, "title": %q, "content": %q, "tags": ["Engines", "engines "]}`, author, title, content)
	}
	first := s.post(t, "/posts", create(ada, "On engines", content), "Idempotency-Key: draft-1")
	require.Equal(t, http.StatusCreated, first.status, first.text)
	require.Equal(t, "draft", first.body["status"])
	require.Equal(t, []any{"Engines"}, first.body["tags"])
	again := s.post(t, "/posts", create(ada, "On engines", content), "Idempotency-Key: draft-1")
	require.Equal(t, true, again.body["replayed"], again.text)
	require.Equal(t, first.body["post"], again.body["post"])
	path := fmt.Sprintf("/posts/%d", first.number("post"))

	edit := func(author, version int64, title string) (method, path_, body string) {
		return http.MethodPut, path, fmt.Sprintf(`{"author": %d, "version": %d, "title": %q, "content": %q}`, author, version, title, content)
	}
	method, _, body := edit(ada, first.number("version"), "On analytical engines")
	edited, err := s.do(t.Context(), method, path, body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, edited.status, edited.text)
	require.Equal(t, first.number("version")+1, edited.number("version"))
	stale, err := s.do(t.Context(), method, path, body)
	require.NoError(t, err)
	requireProblem(t, "edit-conflict", stale)
	require.Equal(t, "On analytical engines", stale.body["current"].(map[string]any)["title"])

	short := s.post(t, "/posts", create(ada, "On", "Nothing."), "Idempotency-Key: draft-2")
	require.Equal(t, http.StatusCreated, short.status, short.text)
	_, _, others := edit(bob, edited.number("version"), "Mine")
	publication := fmt.Sprintf(`{"author": %d}`, ada)
	for name, c := range map[string]refused{
		"no key":             {path: "/posts", body: create(ada, "T", "C"), problem: "idempotency-key-missing"},
		"a key of another":   {path: "/posts", body: create(ada, "Other", "C"), headers: []string{"Idempotency-Key: draft-1"}, problem: "idempotency-key-reused"},
		"a title too long":   {path: "/posts", body: create(ada, strings.Repeat("t", 201), "C"), headers: []string{"Idempotency-Key: k"}, problem: "invalid-request", members: map[string]string{"field": "title"}},
		"nobody's":           {path: "/posts", body: create(9999, "Title", "C"), headers: []string{"Idempotency-Key: k"}, problem: "unknown-user", members: map[string]string{"user": "9999"}},
		"another's draft":    {method: http.MethodGet, path: fmt.Sprintf("%s?reader=%d", path, bob), problem: "unknown-post"},
		"another's to edit":  {method: http.MethodPut, path: path, body: others, problem: "unknown-post"},
		"too short":          {path: fmt.Sprintf("/posts/%d/publication", short.number("post")), body: publication, problem: "text-too-short", members: map[string]string{"field": "title", "have": "2", "need": "5"}},
		"no such to publish": {path: "/posts/9999/publication", body: publication, problem: "unknown-post", members: map[string]string{"post": "9999"}},
	} {
		t.Run(name, func(t *testing.T) { s.requireRefused(t, c) })
	}

	published := s.post(t, path+"/publication", publication)
	require.Equal(t, http.StatusOK, published.status, published.text)
	require.Equal(t, "published", published.body["status"])
	requireProblem(t, "already-published", s.post(t, path+"/publication", publication))
	read := s.get(t, path)
	require.Equal(t, http.StatusOK, read.status)
	require.Equal(t, content, read.body["content"])
}

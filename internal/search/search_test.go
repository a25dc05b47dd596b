package search_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/search"
	"github.com/interlock-go/interlock/service/blog"
)

// An index stores documents as Elasticsearch does with external versions.
type index struct {
	mu       sync.Mutex
	versions map[string]int64
	docs     map[string]string
	refuse   int // the status to answer with instead, if any
	auth     string
}

func (x *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	version, err := strconv.ParseInt(r.URL.Query().Get("version"), 10, 64)
	body, readErr := io.ReadAll(r.Body)
	switch {
	case x.refuse != 0:
		w.WriteHeader(x.refuse)
	case errors.Join(err, readErr) != nil, r.Method != http.MethodPut, r.URL.Query().Get("version_type") != "external":
		w.WriteHeader(http.StatusBadRequest)
	case x.versions[r.URL.Path] >= version:
		w.WriteHeader(http.StatusConflict)
	default:
		x.versions[r.URL.Path], x.docs[r.URL.Path] = version, string(body)
		x.auth = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusCreated)
	}
}

func TestPut(t *testing.T) {
	t.Parallel()
	x := &index{versions: map[string]int64{}, docs: map[string]string{}}
	server := httptest.NewServer(x)
	t.Cleanup(server.Close)
	c, err := search.NewClient(search.Config{URL: server.URL + "/posts/", Token: "t"})
	require.NoError(t, err)
	doc := blog.Document{
		Post: 7, Version: 2, Title: "Title", Content: "Content", Author: "Ada", Tags: []string{"go"},
		PublishedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	for range 2 {
		require.NoError(t, c.Put(t.Context(), doc), "twice is once")
	}
	late := doc
	late.Version, late.Title = 1, "older"
	require.NoError(t, c.Put(t.Context(), late), "and what comes late is in the index already")
	require.JSONEq(t, `{"title": "Title", "content": "Content", "author": "Ada", "tags": ["go"], "published_at": "2026-01-02T03:04:05Z"}`,
		x.docs["/posts/_doc/7"])
	require.Equal(t, "Bearer t", x.auth)

	newer := doc
	newer.Version, newer.Title = 3, "newer"
	require.NoError(t, c.Put(t.Context(), newer))
	var stored struct{ Title string }
	require.NoError(t, json.Unmarshal([]byte(x.docs["/posts/_doc/7"]), &stored))
	require.Equal(t, "newer", stored.Title)

	for _, status := range []int{202, 301, 400, 401, 404, 429, 500, 503} {
		x.refuse = status
		err := c.Put(t.Context(), doc)
		failed, ok := errors.AsType[*search.StatusError](err)
		require.True(t, ok, "%d: %v", status, err)
		require.Equal(t, status, failed.Status)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Put(ended, doc), context.Canceled)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []search.Config{
		{}, {URL: "posts"}, {URL: "ftp://h/posts"}, {URL: "http://u:s3cret@h/posts"}, {URL: "http://h/posts?s3cret=1"},
		{URL: "http://h:s3cret/posts"}, {URL: "http://h/posts", Timeout: -1},
	} {
		_, err := search.NewClient(cfg)
		require.Error(t, err, "%+v", cfg)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

// Package search brings posts to a search index that speaks HTTP as Elasticsearch and
// OpenSearch do.
//
//	index, err := search.NewClient(search.Config{URL: "https://search.example.com/posts"})
//
// A document is a PUT to URL/_doc/ID?version=N&version_type=external: the index stores it if it
// has no document of the ID, or one of a lower version, and answers 409 Conflict otherwise. So
// a document that comes twice is one, and one that comes late does not replace a newer one.
package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/interlock-go/interlock/service/blog"
)

// DefaultTimeout is how long a request may take.
const DefaultTimeout = 15 * time.Second

// maxAnswer is how much of an answer is read, in bytes, so that the connection can be used again.
const maxAnswer = 64 << 10

// A Config says where an index is.
type Config struct {
	URL     string        // of the index, http or https, without credentials
	Token   string        // sent as a bearer token; "" for none
	Timeout time.Duration // of a request; zero is DefaultTimeout
}

// A Client is a blog.SearchIndex. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  http.Client
}

var _ blog.SearchIndex = (*Client)(nil)

// NewClient makes a client. It sends nothing.
func NewClient(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		return nil, errors.New("search: the index's URL cannot be parsed") // url.Error would show it whole
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, errors.New("search: the index's URL is not an absolute one of http or https")
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("search: the index's URL has credentials, a query or a fragment")
	case cfg.Timeout < 0:
		return nil, errors.New("search: the timeout is negative")
	case cfg.Timeout == 0:
		cfg.Timeout = DefaultTimeout
	}
	return &Client{base: base, token: cfg.Token, http: http.Client{
		Timeout: cfg.Timeout,
		// A redirect would send the document, and the token, to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// A StatusError is returned when the index answered with a status that does not say that it
// has the document.
type StatusError struct {
	Status int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("search: the index answered %d %s", e.Status, http.StatusText(e.Status))
}

// A document is a blog.Document as the index stores it.
type document struct {
	Title       string    `json:"title"`
	Content     string    `json:"content"`
	Author      string    `json:"author"`
	Tags        []string  `json:"tags"`
	PublishedAt time.Time `json:"published_at"`
}

// Put stores a document, unless the index has this version or a later one.
func (c *Client) Put(ctx context.Context, doc blog.Document) error {
	body, err := json.Marshal(document{
		Title: doc.Title, Content: doc.Content, Author: doc.Author, Tags: doc.Tags, PublishedAt: doc.PublishedAt,
	})
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	u := c.base.JoinPath("_doc", strconv.FormatInt(doc.Post, 10))
	u.RawQuery = url.Values{"version": {strconv.FormatInt(doc.Version, 10)}, "version_type": {"external"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("search: put post %d: %w", doc.Post, err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	switch answer.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusConflict:
		return nil
	}
	return fmt.Errorf("search: put post %d: %w", doc.Post, &StatusError{Status: answer.StatusCode})
}

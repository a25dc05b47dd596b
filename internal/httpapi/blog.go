package httpapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/interlock-go/interlock/service/blog"
)

// Problems of package blog.
var (
	unknownPost = &problemType{name: "unknown-post", status: http.StatusNotFound,
		title: "There is no such post, or it is somebody else's"}
	alreadyPublished = &problemType{name: "already-published", status: http.StatusConflict,
		title: "The post is published already"}
	textTooShort = &problemType{name: "text-too-short", status: http.StatusConflict,
		title: "The post has too little text to be published"}
	editConflict = &problemType{name: "edit-conflict", status: http.StatusConflict,
		title:  "The post was changed since the version that the edit is made on",
		detail: "current is the post as it is. Show the author both, and let the author decide."}

	blogProblems = []*problemType{unknownPost, alreadyPublished, textTooShort, editConflict}
)

// blogProblem says what a refusal of package blog is for a client, or nil.
func blogProblem(err error) *problem {
	if e, ok := errors.AsType[*blog.EditConflictError](err); ok {
		return because(editConflict, err, extension{"version": e.Version, "current": postOf(e.Current)})
	}
	if e, ok := errors.AsType[*blog.AlreadyPublishedError](err); ok {
		return because(alreadyPublished, err, extension{"post": e.PostID, "published_at": e.At})
	}
	if e, ok := errors.AsType[*blog.TooShortError](err); ok {
		return because(textTooShort, err, extension{"field": strings.ToLower(e.Field), "have": e.Have, "need": e.Need})
	}
	if e, ok := errors.AsType[*blog.UnknownUserError](err); ok {
		return because(unknownUser, err, extension{"user": e.UserID})
	}
	if e, ok := errors.AsType[*blog.UnknownPostError](err); ok {
		return because(unknownPost, err, extension{"post": e.PostID})
	}
	if e, ok := errors.AsType[*blog.InvalidError](err); ok {
		return invalidOf(e.Field, err)
	}
	return among(blogRefusals, err)
}

var blogRefusals = []refusal{{blog.ErrKeyReused, keyReused}}

func (a *API) posts() {
	a.handle("POST /posts", a.createPost)
	a.handle("GET /posts/{post}", a.getPost)
	a.handle("PUT /posts/{post}", a.editPost)
	a.handle("POST /posts/{post}/publication", a.publishPost)
}

// A post is one as clients see it.
type post struct {
	Post        int64      `json:"post"`
	Author      int64      `json:"author"`
	Title       string     `json:"title"`
	Content     string     `json:"content"`
	Status      string     `json:"status"`
	Version     int64      `json:"version"` // for an edit
	Tags        []string   `json:"tags"`
	PublishedAt *time.Time `json:"published_at,omitempty"`
}

func postOf(p blog.Post) post {
	tags := make([]string, len(p.Tags))
	for i, t := range p.Tags {
		tags[i] = t.Display
	}
	return post{p.ID, p.Author, p.Title, p.Content, string(p.Status), p.Version, tags, p.PublishedAt}
}

func (a *API) createPost(r *http.Request) (answer, error) {
	key, err := idempotencyKey(r)
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Author  int64    `json:"author"`
		Title   string   `json:"title"`
		Content string   `json:"content"`
		Tags    []string `json:"tags"`
	}
	if err := decode(r, &in, "author", "title", "content"); err != nil {
		return answer{}, err
	}
	created, err := blog.Create(r.Context(), a.db, blog.CreateRequest{
		Author: in.Author, Title: in.Title, Content: in.Content, Tags: in.Tags, Key: key,
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: struct {
		post
		Replayed bool `json:"replayed"` // an earlier request with the key had created it
	}{postOf(created.Post), created.Replayed}}, nil
}

func (a *API) getPost(r *http.Request) (answer, error) {
	id, err := pathID(r, "post")
	if err != nil {
		return answer{}, err
	}
	if err := onlyQuery(r, "reader"); err != nil {
		return answer{}, err
	}
	reader, err := queryInt(r, "reader")
	if err != nil {
		return answer{}, err
	}
	p, err := blog.Get(r.Context(), a.db, blog.GetRequest{Post: id, Reader: reader})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: postOf(p)}, nil
}

// editPost needs no key: sent again, an edit meets the version that it made.
func (a *API) editPost(r *http.Request) (answer, error) {
	id, err := pathID(r, "post")
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Author  int64  `json:"author"`
		Version int64  `json:"version"`
		Title   string `json:"title"`
		Content string `json:"content"`
	}
	if err := decode(r, &in, "author", "version", "title", "content"); err != nil {
		return answer{}, err
	}
	whenRepeated(r, "If the repetition is refused because of the version, and current is what this request wanted, it was carried out.")
	p, err := blog.Edit(r.Context(), a.db, blog.EditRequest{
		Post: id, Author: in.Author, Version: in.Version, Title: in.Title, Content: in.Content,
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: postOf(p)}, nil
}

// publishPost needs no key: a post is published once.
func (a *API) publishPost(r *http.Request) (answer, error) {
	id, err := pathID(r, "post")
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Author int64 `json:"author"`
	}
	if err := decode(r, &in, "author"); err != nil {
		return answer{}, err
	}
	whenRepeated(r, "If the repetition is refused because the post is published already, it was carried out.")
	published, err := blog.Publish(r.Context(), a.db, blog.PublishRequest{Post: id, Author: in.Author})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: struct {
		post
		Notified int64 `json:"notified"` // followers
	}{postOf(published.Post), published.Notified}}, nil
}

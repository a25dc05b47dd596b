package blog

import (
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// Refusals. Repeating the same request does not help until something else has changed.
var (
	// ErrInvalid is returned when a field of a request can never be right. It comes as an
	// *InvalidError, which names the field.
	ErrInvalid = errors.New("blog: invalid request")

	// ErrUnknownUser is returned when there is no such user. It comes as an
	// *UnknownUserError, which says which one.
	ErrUnknownUser = errors.New("blog: no such user")

	// ErrUnknownPost is returned when there is no such post, or none that the user may see or
	// change. It comes as an *UnknownPostError, and is txn.ErrNotFound too.
	ErrUnknownPost = errors.New("blog: no such post")

	// ErrAlreadyPublished is returned when a post was published before, perhaps by the same
	// request. It comes as an *AlreadyPublishedError, which says when.
	ErrAlreadyPublished = errors.New("blog: the post is published already")

	// ErrTooShort is returned when a post has too little text to be published, or when an edit
	// would leave a published one with too little. It comes as a *TooShortError.
	ErrTooShort = errors.New("blog: too short to be published")

	// ErrKeyReused is returned when a request carries the key of another one that differs
	// from it. Nothing was done now; what was done then is unchanged. Choose a new key for
	// a new request.
	ErrKeyReused = errors.New("blog: the key belongs to another request")

	// ErrSelfFollow is returned when users want to follow themselves.
	ErrSelfFollow = errors.New("blog: users do not follow themselves")
)

// Refusals of FrontPage.
var (
	// ErrFrontPageFull is returned when the slots of today's front page are taken.
	ErrFrontPageFull = errors.New("blog: today's front page is full")

	// ErrFeaturedToday is returned when today's front page has another post of the author.
	ErrFeaturedToday = errors.New("blog: today's front page has a post of the author")

	// ErrFeaturedBefore is returned when a front page has or had the post.
	ErrFeaturedBefore = errors.New("blog: the post was on a front page before")
)

// An InvalidError is returned when a field of a request can never be right, such as a text
// that is too long. errors.Is(err, ErrInvalid) is true.
type InvalidError struct {
	Field string // as the request's type calls it
	Err   error  // what found it; nil if it was seen before anything was sent
}

func (e *InvalidError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%v: %s", ErrInvalid, e.Field)
	}
	return fmt.Sprintf("%v: %s: %v", ErrInvalid, e.Field, e.Err)
}

func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }
func (e *InvalidError) Unwrap() error        { return e.Err }

// An UnknownUserError is returned when there is no such user. errors.Is(err, ErrUnknownUser) is
// true.
type UnknownUserError struct {
	UserID int64
}

func (e *UnknownUserError) Error() string        { return fmt.Sprintf("%v: %d", ErrUnknownUser, e.UserID) }
func (e *UnknownUserError) Is(target error) bool { return target == ErrUnknownUser }

// An UnknownPostError is returned when there is no such post, or it is somebody else's draft,
// or somebody else's post that was to be changed. errors.Is(err, ErrUnknownPost) is true, and
// errors.Is(err, txn.ErrNotFound).
type UnknownPostError struct {
	PostID int64
}

func (e *UnknownPostError) Error() string        { return fmt.Sprintf("%v: %d", ErrUnknownPost, e.PostID) }
func (e *UnknownPostError) Is(target error) bool { return target == ErrUnknownPost }
func (e *UnknownPostError) Unwrap() error        { return txn.ErrNotFound }

// An AlreadyPublishedError is returned when a post was published before. Who does not know
// what became of its own request takes it for success. errors.Is(err, ErrAlreadyPublished) is
// true.
type AlreadyPublishedError struct {
	PostID int64
	At     time.Time
}

func (e *AlreadyPublishedError) Error() string {
	return fmt.Sprintf("%v: %d, since %s", ErrAlreadyPublished, e.PostID, e.At.Format(time.RFC3339))
}

func (e *AlreadyPublishedError) Is(target error) bool { return target == ErrAlreadyPublished }

// A TooShortError is returned when a post has too little text to be published.
// errors.Is(err, ErrTooShort) is true.
type TooShortError struct {
	Field string // "Title" or "Content"
	Have  int    // characters, without the blanks around
	Need  int
}

func (e *TooShortError) Error() string {
	return fmt.Sprintf("%v: %s has %d characters, needed %d", ErrTooShort, e.Field, e.Have, e.Need)
}

func (e *TooShortError) Is(target error) bool { return target == ErrTooShort }

// An EditConflictError is returned when a post was changed since the version that the edit is
// made on. Show the author both, and let the author decide: repeating the edit on the current
// version would overwrite what was done in between. errors.Is(err, txn.ErrStale) is true.
type EditConflictError struct {
	Version int64 // of the edit
	Current Post  // as it was found
	Err     error // a *txn.StaleError
}

func (e *EditConflictError) Error() string {
	return fmt.Sprintf("blog: post %d is in version %d, the edit is made on %d: %v", e.Current.ID, e.Current.Version, e.Version, e.Err)
}

func (e *EditConflictError) Unwrap() error { return e.Err }

// SQLSTATEs that this package decides by.
const (
	stateForeignKeyViolation  = "23503"
	stateUniqueViolation      = "23505"
	stateCheckViolation       = "23514"
	stateSerializationFailure = "40001"
)

// fields says which field of a request a CHECK constraint speaks of.
var fields = map[string]string{
	"posts_title_length":           "Title",
	"posts_content_length":         "Content",
	"posts_idempotency_key_length": "Key",
	"tags_name_length":             "Tags",
	"tags_display_name_length":     "Tags",
}

// invalid gives an error of a statement its meaning, where a field of the request is too long.
func invalid(err error) error {
	if txn.SQLState(err) == stateCheckViolation {
		if field, ok := fields[txn.ConstraintName(err)]; ok {
			return &InvalidError{Field: field, Err: err}
		}
	}
	return err
}

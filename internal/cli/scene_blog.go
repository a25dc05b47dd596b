package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/internal/invariant"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
)

// posts is the scene in which users write, publish, edit and follow.
type posts struct {
	size    int // how many users
	authors []int64
}

func (s *posts) open(ctx context.Context, d *txn.DB) error {
	users, err := signUp(ctx, d, "blog", s.size)
	for _, user := range users {
		s.authors = append(s.authors, user.UserID)
	}
	return err
}

// Shares of the requests, in percent. The rest are drafts.
const (
	percentFollow      = 25 // of an author by another user
	percentPublish     = 25 // a post that is written, and then published
	percentPublishRace = 5  // by two clients at once
	percentEditRace    = 20 // two to four clients who have read the same version
	percentDraftTwice  = 10 // a draft that two clients send with one key
)

// Keys begin with what is asked for. What they have in common names the request.
const (
	draftKey   = "draft"
	postKey    = "post" // what is written in order to be published or edited
	publishKey = "publish"
	editKey    = "edit"
	followKey  = "follow"
)

func (s *posts) requests(seed uint64) iter.Seq[request] {
	return func(yield func(request) bool) {
		rng := rand.New(rand.NewPCG(seed, 1))
		pairs := s.pairs(rng)
		for n := 1; ; n++ {
			name := fmt.Sprintf("%d-%d", seed, n)
			text := s.write(rng, name)
			var r request
			switch throw := dice(rng.IntN(100)); {
			case throw.below(percentFollow) && len(pairs) > 0:
				r, pairs = request{pairs[0]}, pairs[1:]
			case throw.below(percentPublish):
				r = request{publication{text}}
			case throw.below(percentPublishRace):
				r = request{publication{text}, publication{text}}
			case throw.below(percentEditRace):
				for editor := range 2 + rng.IntN(3) {
					r = append(r, edit{text, editor})
				}
			case throw.below(percentDraftTwice):
				r = request{draft{text}, draft{text}}
			default:
				r = request{draft{text}}
			}
			if !yield(r) {
				return
			}
		}
	}
}

// pairs are all who can follow somebody, each with whom. Each is asked for once, so that it can be
// said afterwards who asked for it.
func (s *posts) pairs(rng *rand.Rand) []follow {
	var all []follow
	for _, author := range s.authors {
		for _, follower := range s.authors {
			if author != follower {
				all = append(all, follow{Author: author, Follower: follower})
			}
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// A writing is a text by an author. Tags are a list with commas: writings are comparable.
type writing struct {
	name   string
	author int64
	tags   string
}

// write takes most tags from those that others take at the same time, and some that are new.
func (s *posts) write(rng *rand.Rand, name string) writing {
	var tags []string
	for range rng.IntN(5) {
		tags = append(tags, fmt.Sprintf("Tag %d", rng.IntN(40)))
	}
	if rng.IntN(5) == 0 {
		tags = append(tags, "new in "+name)
	}
	return writing{name, s.authors[rng.IntN(len(s.authors))], strings.Join(tags, ",")}
}

// content is long enough to be published.
var content = strings.Repeat("Something worth reading. ", 8)

func (w writing) create(ctx context.Context, d *txn.DB, key string) (blog.Created, error) {
	r := blog.CreateRequest{Author: w.author, Title: "About " + w.name, Content: content, Key: key + "-" + w.name}
	if w.tags != "" {
		r.Tags = strings.Split(w.tags, ",")
	}
	return blog.Create(ctx, d, r)
}

// mayLackID: who finds the text written changes nothing.
func (writing) mayLackID() {}

// A draft is a call that writes one.
type draft struct{ writing }

func (c draft) keys() []string { return []string{draftKey + "-" + c.name} }

func (c draft) ask(ctx context.Context, d *txn.DB) (answer, error) {
	created, err := c.create(ctx, d, draftKey)
	return replayed(created.Replayed), err
}

// A publication is a call that writes a post, or finds it written, and publishes it.
type publication struct{ writing }

func (c publication) keys() []string { return []string{publishKey + "-" + c.name} }

func (c publication) ask(ctx context.Context, d *txn.DB) (answer, error) {
	created, err := c.create(ctx, d, postKey)
	if err != nil {
		return did, err
	}
	_, err = blog.Publish(ctx, d, blog.PublishRequest{Post: created.Post.ID, Author: c.author})
	if errors.Is(err, blog.ErrAlreadyPublished) {
		return wasDone, nil // by the other client, or by this one, who has not heard of it
	}
	return did, err
}

// An edit is a call that changes the first version of a post, which others do as well.
type edit struct {
	writing
	editor int
}

func (c edit) key() string    { return fmt.Sprintf("%s-%s-%c", editKey, c.name, 'a'+c.editor) }
func (c edit) keys() []string { return []string{c.key()} }

func (c edit) ask(ctx context.Context, d *txn.DB) (answer, error) {
	created, err := c.create(ctx, d, postKey)
	if err != nil {
		return did, err
	}
	_, err = blog.Edit(ctx, d, blog.EditRequest{
		Post: created.Post.ID, Author: c.author, Version: 1, Title: c.key(), Content: content,
	})
	conflict, ok := errors.AsType[*blog.EditConflictError](err)
	if ok && conflict.Current.Title == c.key() {
		return wasDone, nil // by this client, who has not heard of it
	}
	return did, err
}

// A follow is a call that makes a user follow an author, who may do so already.
type follow blog.FollowRequest

func (c follow) keys() []string {
	return []string{fmt.Sprintf("%s-%d-%d", followKey, c.Author, c.Follower)}
}

func (c follow) ask(ctx context.Context, d *txn.DB) (answer, error) {
	return isDone, blog.Follow(ctx, d, blog.FollowRequest(c))
}

func (follow) mayLackID() {}

// ruleStale is what refuses who edits a version that another one has edited.
const ruleStale = "stale version"

func (s *posts) rule(err error) string {
	if errors.Is(err, txn.ErrStale) {
		return ruleStale
	}
	return ""
}

// storedPostsSQL are the keys that the tables show to have been served.
const storedPostsSQL = `
	select idempotency_key from posts where idempotency_key like 'draft-%'
	union all
	select 'publish-' || substr(idempotency_key, 6) from posts where idempotency_key like 'post-%' and status = 'published'
	union all
	select title from posts where title like 'edit-%'
	union all
	select format('follow-%s-%s', author_id, follower_id) from follows`

var postSums = []invariant.Invariant{
	{Name: "each edited version has one edit", SQL: `
		select format('post %s', id) from posts where version <> 1 + (title like 'edit-%')::int + (status = 'published')::int`},
	{Name: "followers told are those who were counted", SQL: `
		select format('post %s', p.id) from posts p
		left join (select post_id, count(*) as n from notifications group by post_id) told on told.post_id = p.id
		left join activity_log a on a.entity = 'posts:' || p.id and a.action = 'publish_post'
		where (a.details->>'notified')::bigint is distinct from case when p.status = 'published' then coalesce(told.n, 0) end`},
	{Name: "each published version has its job for the index, once", SQL: `
		select format('post %s: %s jobs', coalesce(p.id::text, j.post), coalesce(j.n, 0))
		from (select id, version from posts where status = 'published') p
		full join (select args->>'post_id' as post, args->>'version' as version, count(*) as n
			from river.river_job where kind = 'blog.index_post' group by 1, 2) j
			on j.post = p.id::text and j.version = p.version::text
		where p.id is null or j.n is distinct from 1`},
}

func (s *posts) audit(ctx context.Context, tx pgx.Tx, told *tally) (audit, error) {
	stored, err := keysThere(ctx, tx, storedPostsSQL)
	if err != nil {
		return audit{}, err
	}
	sums, err := invariantSums(ctx, tx, postSums)
	return audit{stored, append(sums, told.race("each raced version has one winner", editKey, ruleStale, 1))}, err
}

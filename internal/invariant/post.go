package invariant

// Post are those of posts, of what is counted and told of them, and of front pages.
var Post = []Invariant{
	{
		"each author's counters are the author's posts",
		`SELECT format('author %s: counted %s and %s published, has %s and %s', coalesce(c.user_id, p.author_id),
			c.posts, c.published_posts, p.posts, p.published)
		FROM author_counters c
		FULL JOIN (SELECT author_id, count(*) AS posts, count(*) FILTER (WHERE status = 'published') AS published
			FROM posts GROUP BY author_id) p ON p.author_id = c.user_id
		WHERE c.posts IS DISTINCT FROM p.posts OR c.published_posts IS DISTINCT FROM p.published`,
	},
	{
		"what is published has its time, and enough to read",
		`SELECT format('post %s: %s, published %s', id, status, published_at) FROM posts
		WHERE (status = 'published') <> (published_at IS NOT NULL)
			OR status = 'published' AND (length(trim(title)) < 5 OR length(trim(content)) < 100)`,
	},
	{
		"followers are told of a post once, and of published posts of others",
		`SELECT format('post %s, user %s: %s times', n.post_id, n.user_id, count(*))
		FROM notifications n JOIN posts p ON p.id = n.post_id
		GROUP BY n.post_id, n.user_id, p.id HAVING count(*) > 1 OR p.status <> 'published' OR p.author_id = n.user_id`,
	},
	{
		"each key created one post of its author",
		`SELECT format('author %s, key %s: %s posts', author_id, idempotency_key, count(*)) FROM posts
		WHERE idempotency_key IS NOT NULL GROUP BY author_id, idempotency_key HAVING count(*) > 1`,
	},
	{
		"a front page has as many posts as it says, all of them published",
		`SELECT format('front page of %s: %s taken, %s posts', f.day, f.taken, count(p.id))
		FROM front_pages f
		LEFT JOIN featured_posts o ON o.day = f.day
		LEFT JOIN posts p ON p.id = o.post_id AND p.author_id = o.author_id AND p.status = 'published'
		GROUP BY f.day HAVING f.taken <> count(p.id)`,
	},
}

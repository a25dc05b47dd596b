package testschema

// postRows are posts 1, published and featured, and 2, a draft, both of user 1 and with tag 1.
// User 2 follows user 1 and was told.
const postRows = `
	INSERT INTO posts (author_id, title, content, idempotency_key, request_digest, status, published_at)
		VALUES (1, 'On engines', repeat('engine ', 20), 'first', sha256('first'), 'published', now()),
			(1, '', '', NULL, NULL, 'draft', NULL);
	INSERT INTO author_counters (user_id, posts, published_posts) VALUES (1, 2, 1);
	INSERT INTO tags (name, display_name) VALUES ('engines', 'Engines');
	INSERT INTO post_tags (post_id, tag_id) VALUES (1, 1), (2, 1);
	INSERT INTO follows (author_id, follower_id) VALUES (1, 2);
	INSERT INTO notifications (user_id, post_id, message) VALUES (2, 1, 'Ada published "On engines"');
	INSERT INTO front_pages (day, taken) VALUES ('2020-01-01', 1);
	INSERT INTO featured_posts (post_id, author_id, day, slot) VALUES (1, 1, '2020-01-01', 1);`

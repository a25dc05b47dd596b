package schema_test

import "fmt"

// The rows of testschema.NewDatabaseWithRows: posts 1, published, and 2, a draft, of user 1.
var postRefusals = []refusal{
	{"posts_pkey", "insert into posts (id, author_id, title, content) overriding system value values (1, 1, '', '')", unique},
	{"posts_author_id_idempotency_key_key", `insert into posts (author_id, title, content, idempotency_key, request_digest)
		values (1, '', '', 'first', sha256('x'))`, unique},
	{"posts_author_id_fkey", "insert into posts (author_id, title, content) values (99, '', '')", foreign},
	{"posts_title_length", "update posts set title = repeat('t', 201) where id = 2", check},
	{"posts_content_length", "update posts set content = repeat('c', 100001) where id = 2", check},
	{"posts_version_positive", "update posts set version = 0", check},
	{"posts_idempotency_key_length", "update posts set idempotency_key = '' where id = 1", check},
	{"posts_idempotency_key_length", "update posts set idempotency_key = repeat('k', 201) where id = 1", check},
	{"posts_request_digest_with_key", "update posts set request_digest = null where id = 1", check},
	{"posts_request_digest_with_key", "update posts set idempotency_key = 'k' where id = 2", check},
	{"posts_request_digest_length", `update posts set request_digest = '\x00' where id = 1`, check},
	{"posts_published_at_of_published", "update posts set published_at = null where id = 1", check},
	{"posts_published_at_of_published", "update posts set published_at = now() where id = 2", check},
	{"posts_published_at_of_published", "update posts set status = 'draft' where id = 1", check},
	{"posts_published_title_length", "update posts set title = 'four' where id = 1", check},
	{"posts_published_title_length", "update posts set title = '  four  ' where id = 1", check},
	{"posts_published_content_length", "update posts set content = repeat('c', 99) where id = 1", check},
	{"posts_published_content_length", `update posts set content = repeat(' ', 50) || repeat('c', 99) || repeat(E'\n', 50) where id = 1`, check},
	{"", "update posts set status = 'lost'", badValue},
	{"", "update posts set title = null", notNull},

	{"author_counters_pkey", "insert into author_counters (user_id) values (1)", unique},
	{"author_counters_user_id_fkey", "insert into author_counters (user_id) values (99)", foreign},
	{"author_counters_published_posts_not_negative", "update author_counters set published_posts = -1", check},
	{"author_counters_posts_include_published", "update author_counters set published_posts = posts + 1", check},

	{"tags_pkey", "insert into tags (id, name, display_name) overriding system value values (1, 'new', 'New')", unique},
	{"tags_name_key", "insert into tags (name, display_name) values ('engines', 'ENGINES')", unique},
	{"tags_name_length", "insert into tags (name, display_name) values ('', 'New')", check},
	{"tags_name_length", "insert into tags (name, display_name) values (repeat('n', 51), 'New')", check},
	{"tags_name_trimmed", "insert into tags (name, display_name) values (' new', 'New')", check},
	{"tags_name_trimmed", `insert into tags (name, display_name) values (E'new\u00a0', 'New')`, check},
	{"tags_display_name_length", "insert into tags (name, display_name) values ('new', '')", check},
	{"tags_display_name_length", "insert into tags (name, display_name) values ('new', repeat('N', 51))", check},

	{"post_tags_pkey", "insert into post_tags (post_id, tag_id) values (1, 1)", unique},
	{"post_tags_post_id_fkey", "insert into post_tags (post_id, tag_id) values (99, 1)", foreign},
	{"post_tags_tag_id_fkey", "insert into post_tags (post_id, tag_id) values (1, 99)", foreign},
	{"post_tags_tag_id_fkey", "delete from tags", foreign},

	{"follows_pkey", "insert into follows (author_id, follower_id) values (1, 2)", unique},
	{"follows_author_id_fkey", "insert into follows (author_id, follower_id) values (99, 1)", foreign},
	{"follows_follower_id_fkey", "insert into follows (author_id, follower_id) values (1, 99)", foreign},
	{"follows_others_only", "insert into follows (author_id, follower_id) values (1, 1)", check},

	{"notifications_pkey", "insert into notifications (id, user_id, post_id, message) overriding system value values (1, 1, 1, 'm')", unique},
	{"notifications_post_id_user_id_key", "insert into notifications (user_id, post_id, message) values (2, 1, 'again')", unique},
	{"notifications_user_id_fkey", "insert into notifications (user_id, post_id, message) values (99, 1, 'm')", foreign},
	{"notifications_post_id_fkey", "insert into notifications (user_id, post_id, message) values (2, 99, 'm')", foreign},
	{"notifications_message_length", "update notifications set message = ''", check},
	{"notifications_message_length", "update notifications set message = repeat('m', 501)", check},

	{"front_pages_pkey", "insert into front_pages (day, taken) values ('2020-01-01', 1)", unique},
	{"front_pages_taken_of_three", "update front_pages set taken = 4", check},
	{"front_pages_taken_of_three", "update front_pages set taken = 0", check},

	{"featured_posts_pkey", withPage("1, 1, '2020-01-02', 1"), unique},
	{"featured_posts_day_slot_key", `insert into featured_posts (post_id, author_id, day, slot)
		select id, author_id, '2020-01-01', 1 from posts where id = 2`, unique},
	{"featured_posts_author_id_day_key", `insert into featured_posts (post_id, author_id, day, slot) values (2, 1, '2020-01-01', 2)`, unique},
	{"featured_posts_post_id_fkey", withPage("99, 1, '2020-01-02', 1"), foreign},
	{"featured_posts_post_id_fkey", withPage("2, 2, '2020-01-02', 1"), foreign}, // of somebody else
	{"featured_posts_day_fkey", "insert into featured_posts (post_id, author_id, day, slot) values (2, 1, '2020-01-03', 1)", foreign},
	{"featured_posts_slot_of_three", withPage("2, 1, '2020-01-02', 4"), check},
	{"featured_posts_slot_of_three", withPage("2, 1, '2020-01-02', 0"), check},
}

// withPage features a post on a page of its own.
func withPage(values string) string {
	return fmt.Sprintf(`with page as (insert into front_pages (day, taken) values ('2020-01-02', 1))
		insert into featured_posts (post_id, author_id, day, slot) values (%s)`, values)
}

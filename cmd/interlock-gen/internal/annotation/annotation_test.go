package annotation_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/annotation"
)

func TestParse(t *testing.T) {
	t.Parallel()
	queries, err := annotation.Parse("queries/user.sql", `-- Queries of users.

-- name: GetUser :one
SELECT * FROM users WHERE id = $1; -- by its id

-- name: RenameUser :exec
-- RenameUser gives a user another name. See @optimistic for what happens otherwise.
-- @optimistic version
-- @allow no-such-check the reason, with  words
-- @allow another-one ; -- 'still' the reason
UPDATE users SET name = '-- @affects one; /* @reads', version = version + 1 WHERE id = $1 AND version = $2;

-- @affects one
-- name: DeleteUser :execrows
/* @param id the user */
--@sqlc-vet-disable
DELETE FROM users
-- AND name = @name
-- @name
WHERE id = @id;

SELECT 'a statement without a name';

/* name: Reading :many */
/* @reads */
WITH RECURSIVE update AS MATERIALIZED (SELECT 1), delete (id) AS (SELECT 2)
SELECT f(x) FROM users;

-- name: Moving :one
--   @affects   one
WITH old AS (SELECT 1 /* a ; b /* c */ ; */)
INSERT INTO users SELECT * FROM old;

-- name: Strings :one
-- @reads
(SELECT E'it\'s; -- @affects one', U&'a;b', $tag$ ; $$ -- $tag$, $$;$$, "a;""b", $1, a$b$c, (1; 2))
UNION VALUES (1);
`)
	require.NoError(t, err)
	require.Equal(t, " -- by its id\n\n-- name: RenameUser :exec", queries[1].Source[:40])
	for _, q := range queries {
		q.Source = ""
	}
	require.Equal(t, []*annotation.Query{
		{Name: "GetUser", Cmd: ":one", File: "queries/user.sql", Line: 3, Verb: "SELECT"},
		{Name: "RenameUser", Cmd: ":exec", File: "queries/user.sql", Line: 6, Verb: "UPDATE", Optimistic: "version", Allows: []annotation.Allow{
			{Check: "no-such-check", Reason: "the reason, with  words", Line: 9},
			{Check: "another-one", Reason: "; -- 'still' the reason", Line: 10},
		}},
		{Name: "DeleteUser", Cmd: ":execrows", File: "queries/user.sql", Line: 14, Verb: "DELETE", AffectsOne: true},
		{Name: "Reading", Cmd: ":many", File: "queries/user.sql", Line: 24, Verb: "SELECT", Reads: true},
		{Name: "Moving", Cmd: ":one", File: "queries/user.sql", Line: 29, Verb: "INSERT", AffectsOne: true},
		{Name: "Strings", Cmd: ":one", File: "queries/user.sql", Line: 34, Verb: "SELECT", Reads: true},
	}, queries)
	require.Equal(t, "queries/user.sql:34", queries[5].Position())
}

func TestWindowsLines(t *testing.T) {
	t.Parallel()
	queries, err := annotation.Parse("a.sql", "-- name: A :exec\r\n-- @affects one\r\nDELETE FROM users WHERE id = $1;\r\n")
	require.NoError(t, err)
	require.Len(t, queries, 1)
	require.Equal(t, "A", queries[0].Name)
	require.Equal(t, ":exec", queries[0].Cmd)
	require.True(t, queries[0].AffectsOne)
}

// TestParameters has comments about parameters of the statement, which are prose.
func TestParameters(t *testing.T) {
	t.Parallel()
	queries, err := annotation.Parse("a.sql", `-- @owner is who asks, not who pays,

-- name: A :exec
-- @owner: who asks
-- @allowed's absence means all
-- @kinds, or none
-- @affects one
UPDATE users SET name = 'x' WHERE owner = @owner AND allowed = sqlc.narg('allowed') AND kind = ANY (sqlc.slice(kinds));
`)
	require.NoError(t, err)
	require.Len(t, queries, 1)
	require.True(t, queries[0].AffectsOne)

	_, err = annotation.Parse("a.sql", "-- name: A :exec\n-- @affects: one\nUPDATE users SET x = @affects;")
	require.ErrorContains(t, err, "@affects: is no annotation: @affects was meant")
	_, err = annotation.Parse("a.sql", "-- name: A :exec\n-- @owners: who asks\nUPDATE users SET x = @owner;")
	require.ErrorContains(t, err, "@owners: is no annotation")
}

func TestErrors(t *testing.T) {
	t.Parallel()
	const update = "\nUPDATE users SET name = $1;"
	for _, c := range []struct{ name, source, err string }{
		// What is no annotation.
		{"misspelt", "-- name: A :exec\n-- @optimistc version" + update,
			"a.sql:2: A: @optimistc is no annotation: @optimistic was meant"},
		{"letters swapped", "-- name: A :exec\n-- @affetcs one" + update,
			"a.sql:2: A: @affetcs is no annotation: @affects was meant"},
		{"singular", "-- name: A :one\n-- @read\nSELECT 1;",
			"a.sql:2: A: @read is no annotation: @reads was meant"},
		{"capital letter", "-- name: A :exec\n-- @Allow x y" + update,
			"a.sql:2: A: @Allow is no annotation: @allow was meant"},
		{"colon", "-- name: A :exec\n-- @optimistic: version" + update,
			"a.sql:2: A: @optimistic: is no annotation: @optimistic was meant"},
		{"nothing like it", "-- name: A :exec\n-- @deprecated use B" + update,
			"a.sql:2: A: @deprecated is no annotation: there are @optimistic, @affects, @reads, @allow, and @param and @sqlc-vet-disable of sqlc's; put a word before it if it is prose"},

		// Arguments.
		{"optimistic without a column", "-- name: A :exec\n-- @optimistic" + update,
			"a.sql:2: A: @optimistic needs the name of the version column: @optimistic version"},
		{"optimistic with two words", "-- name: A :exec\n-- @optimistic version column" + update,
			"a.sql:2: A: @optimistic takes one column, and here are 2 words: @optimistic version"},
		{"affects without a number", "-- name: A :exec\n-- @affects" + update,
			"a.sql:2: A: @affects needs the number of rows, and one is the only one there is: @affects one"},
		{"affects another number", "-- name: A :exec\n-- @affects 1" + update,
			"a.sql:2: A: @affects needs the number of rows, and one is the only one there is: @affects one"},
		{"reads with a table", "-- name: A :one\n-- @reads users\nSELECT 1;",
			"a.sql:2: A: @reads takes no argument, and here is \"users\": remove that"},
		{"allow without a check", "-- name: A :exec\n-- @allow" + update,
			"a.sql:2: A: @allow needs the name of a check and a reason: @allow lock-order each caller locks one row"},
		{"allow without a reason", "-- name: A :exec\n-- @allow lock-order " + update,
			"a.sql:2: A: @allow lock-order needs a reason: say behind it why the check is wrong here"},

		// Statements.
		{"optimistic read", "-- name: A :one\n-- @optimistic version\nSELECT 1;",
			"a.sql:2: A: @optimistic is for an UPDATE or DELETE that tests a version, and this is a SELECT: remove it"},
		{"optimistic insertion", "-- name: A :exec\n-- @optimistic version\nINSERT INTO users VALUES (1);",
			"a.sql:2: A: @optimistic is for an UPDATE or DELETE that tests a version, and this is an INSERT: remove it"},
		{"optimistic for many", "-- name: A :many\n-- @optimistic version" + update,
			"a.sql:2: A: @optimistic needs to know whether a row was changed, and :many does not tell: use :exec, :execrows or :one"},
		{"affects of a read", "-- name: A :one\n-- @affects one\nWITH x AS (UPDATE users SET name = '' RETURNING id) SELECT id FROM x;",
			"a.sql:2: A: @affects is for a statement that changes rows, and this is a SELECT: remove it"},
		{"affects in a batch", "-- name: A :batchexec\n-- @affects one" + update,
			"a.sql:2: A: @affects needs to know how many rows were changed, and :batchexec does not tell: use :exec, :execrows or :one"},
		{"reads of a write", "-- name: A :exec\n-- @reads\nWITH x AS (SELECT 1) UPDATE users SET name = $1;",
			"a.sql:2: A: @reads is for a SELECT whose functions only read, and this is an UPDATE: remove it"},

		// Twice.
		{"optimistic twice", "-- name: A :exec\n-- @optimistic version\n-- @optimistic version" + update,
			"a.sql:3: A: @optimistic stands here twice: leave one of them"},
		{"affects twice", "-- name: A :exec\n-- @affects one\n-- @affects one" + update,
			"a.sql:3: A: @affects stands here twice: leave one of them"},
		{"reads twice", "-- name: A :one\n-- @reads\n-- @reads\nSELECT 1;",
			"a.sql:3: A: @reads stands here twice: leave one of them"},
		{"allow twice", "-- name: A :exec\n-- @allow x y\n-- @allow z y\n-- @allow x z" + update,
			"a.sql:4: A: @allow x stands here twice: leave one of them"},
		{"both", "-- name: A :exec\n-- @affects one\n-- @optimistic version" + update,
			"a.sql:3: A: @optimistic demands one row already: remove @affects one"},

		// Places.
		{"behind the semicolon", "-- name: A :exec" + update + " -- @affects one\n\n-- name: B :one\nSELECT 1;",
			"a.sql:2: A: @affects stands behind the semicolon, where sqlc takes it for the next query's, B: move it above the statement it is for"},
		{"behind the last semicolon", "-- name: A :exec" + update + " -- @affects one\n",
			"a.sql:2: A: @affects stands behind the semicolon, where it belongs to no query: move it above the statement it is for"},
		{"misspelt behind the semicolon", "-- name: A :exec" + update + " /* @afects one */\n-- name: B :exec\n" + update,
			"a.sql:2: A: @afects stands behind the semicolon, where sqlc takes it for the next query's, B: move it above the statement it is for"},
		{"at the end of the file", "-- name: A :exec" + update + "\n-- @affects one\n",
			"a.sql:3: @affects is followed by no statement, so it belongs to no query: move it above the statement it is for, or remove it"},
		{"inside", "-- name: A :exec\nUPDATE users SET name = $1\n-- @affects one\nWHERE id = $2;",
			"a.sql:3: A: @affects stands inside the statement: move it above, to a line of its own"},
		{"at the end of a line inside", "-- name: A :exec\nUPDATE users SET name = $1 -- @affects one\nWHERE id = $2;",
			"a.sql:2: A: @affects stands inside the statement: move it above, to a line of its own"},
		{"indented", "-- name: A :exec\n  -- @affects one" + update,
			"a.sql:2: A: @affects does not begin its line, so sqlc does not take it for the query's comment: remove what is before it, blanks too"},
		{"in a comment of several lines", "-- name: A :exec\n/* A does a thing.\n * @affects one\n */" + update,
			"a.sql:2: A: an annotation stands in a comment of several lines, where it has no effect: give it a line of its own, beginning with --"},
		{"apart", "-- @affects one\n\n-- name: A :exec" + update,
			"a.sql:1: A: @affects is apart from the query that it belongs to: move it below the line with the query's name"},
		{"without a name", "-- @affects one" + update,
			"a.sql:1: @affects is for a statement without a line such as -- name: GetUser :one, which sqlc passes over: name it"},

		// Several.
		{"several", "-- name: A :exec\n-- @affects\n-- @reads" + update,
			"a.sql:2: A: @affects needs the number of rows, and one is the only one there is: @affects one\n" +
				"a.sql:3: A: @reads is for a SELECT whose functions only read, and this is an UPDATE: remove it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := annotation.Parse("a.sql", c.source)
			require.EqualError(t, err, c.err)
			require.ErrorAs(t, err, new(*annotation.Error))
		})
	}
}

func TestIs(t *testing.T) {
	t.Parallel()
	for comment, is := range map[string]bool{
		" @optimistic version": true, "@reads": true, " @allow a b": true,
		" uses @reads": false, " @param id": false, " @readss": false, "": false, " @": false,
	} {
		require.Equal(t, is, annotation.Is(comment), comment)
	}
}

func TestClosest(t *testing.T) {
	t.Parallel()
	names := []string{"lock-order", "lock-wait", "no-where"}
	for word, want := range map[string]string{
		"lock-order": "lock-order", "lock-ordre": "lock-order", "lockorder": "lock-order", "lock_wait": "lock-wait",
		"nowhere": "no-where", "something": "", "x": "", "": "",
	} {
		require.Equal(t, want, annotation.Closest(word, names), word)
	}
}

// FuzzParse looks for texts that the scanner cannot take.
func FuzzParse(f *testing.F) {
	for _, source := range []string{
		"-- name: A :one\n-- @reads\nSELECT $1, $a$;$a$, E'\\'', U&\"a\"\"\"; -- @affects one",
		"/* /* */ @reads", "$", "$$", "--", "'", "\"", "E'\\", "(;)", "-- name: \n;", "/*\n@reads\n*/;",
	} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		queries, _ := annotation.Parse("a.sql", source)
		lines := strings.Count(source, "\n") + 1
		for _, q := range queries {
			require.LessOrEqual(t, q.Line, lines)
		}
	})
}

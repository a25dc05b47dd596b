package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/blog"
)

// What did not happen outside is seen, and so is a job that is left.
func TestCrewSums(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	admin := database.Admin(t)
	c := &crew{outside: newOutside()}
	sums := func() []string {
		t.Helper()
		tx, err := admin.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
		found, err := c.sums(t.Context(), tx)
		require.NoError(t, err)
		return wrong(found)
	}
	const (
		worked  = "every job was worked"
		letters = "everybody got the letters that they were to get"
		indexed = "the index has what was published, in its last version"
	)
	require.Equal(t, []string{letters, indexed}, sums())
	keys, err := admin.Query(t.Context(), mailsSQL)
	require.NoError(t, err)
	for keys.Next() {
		var m mail.Message
		require.NoError(t, keys.Scan(&m.Key))
		for range 2 {
			require.NoError(t, c.outside.Send(t.Context(), m))
		}
	}
	require.NoError(t, keys.Err())
	require.Equal(t, []string{indexed}, sums())
	rows, err := admin.Query(t.Context(), "select id, version from posts where status = 'published'")
	require.NoError(t, err)
	var doc blog.Document
	for rows.Next() {
		require.NoError(t, rows.Scan(&doc.Post, &doc.Version))
		require.NoError(t, c.outside.Put(t.Context(), doc))
	}
	require.NoError(t, rows.Err())
	require.Empty(t, sums())
	doc.Version--
	repeated := c.outside.repeat
	require.NoError(t, c.outside.Put(t.Context(), doc), "a job that comes late")
	require.Equal(t, repeated+1, c.outside.repeat)
	require.Empty(t, sums())

	doc.Post = 1 << 40
	require.NoError(t, c.outside.Put(t.Context(), doc))
	require.Equal(t, []string{indexed}, sums(), "nobody published it")
	_, err = admin.Exec(t.Context(), "insert into river.river_job (kind, max_attempts, args) values ('demo', 1, '{}')")
	require.NoError(t, err)
	require.Equal(t, []string{worked, indexed}, sums())
}

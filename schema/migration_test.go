package schema_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn/txntest"
)

// catalogSQL lists what migrations can make, without oids and positions, which differ
// between two equal schemas. Goose's own table is left out.
const catalogSQL = `
	with of_ours as (
		select c.oid, c.relname, c.relkind from pg_class c
		where c.relnamespace = 'public'::regnamespace and c.relname not like 'goose_db_version%'
	)
	select format('%s %s: %s', relkind, relname, obj_description(oid, 'pg_class')) from of_ours
	union all
	select format('column %s.%s %s, not null %s, default %s, identity %s, generated %s: %s', r.relname, a.attname,
		format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
		col_description(r.oid, a.attnum))
	from of_ours r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
	left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
	where r.relkind = 'r'
	union all
	select format('constraint %s on %s: %s', n.conname, r.relname, pg_get_constraintdef(n.oid))
	from of_ours r join pg_constraint n on n.conrelid = r.oid
	union all
	select format('index %s', pg_get_indexdef(oid)) from of_ours where relkind = 'i'
	union all
	select format('trigger %s', pg_get_triggerdef(t.oid))
	from of_ours r join pg_trigger t on t.tgrelid = r.oid and not t.tgisinternal
	union all
	select pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
	union all
	select format('type %s: %s', t.typname, (select string_agg(e.enumlabel, ', ' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
	from pg_type t where t.typnamespace = 'public'::regnamespace and t.typtype in ('e', 'd', 'r')
	order by 1`

func catalog(t *testing.T, url string) []string {
	t.Helper()
	return query(t, url, catalogSQL)
}

func query(t *testing.T, url, sql string) []string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	rows, err := c.Query(t.Context(), sql)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return found
}

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, txntest.SQL())
	url := database.OwnerURL()
	require.NoError(t, testschema.WithProvider(url, func(p *goose.Provider) error {
		ctx := t.Context()
		before := catalog(t, url)
		var states [][]string // before each migration
		for range p.ListSources() {
			states = append(states, catalog(t, url))
			if _, err := p.UpByOne(ctx); err != nil {
				return err
			}
			require.NotEqual(t, states[len(states)-1], catalog(t, url), "a migration that does nothing would prove nothing")
		}
		full := catalog(t, url)

		for i := len(states) - 1; i >= 0; i-- {
			result, err := p.Down(ctx)
			if err != nil {
				return err
			}
			require.Equal(t, states[i], catalog(t, url), "down leaves something behind: %s", result.Source.Path)
		}
		require.Equal(t, before, catalog(t, url))

		if _, err := p.Up(ctx); err != nil {
			return err
		}
		require.Equal(t, full, catalog(t, url), "up again")
		if _, err := p.DownTo(ctx, 0); err != nil {
			return err
		}
		require.Equal(t, before, catalog(t, url), "down at once")
		return nil
	}))
}

// A migration is taken back from databases in use, not only from empty ones.
func TestDownWithRows(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	require.NoError(t, testschema.WithProvider(database.OwnerURL(), func(p *goose.Provider) error {
		if _, err := p.DownTo(t.Context(), 0); err != nil {
			return err
		}
		require.Empty(t, catalog(t, database.OwnerURL()))
		_, err := p.Up(t.Context()) // for the check at the end
		return err
	}))
}

func TestEverythingIsNamedAndIndexed(t *testing.T) {
	t.Parallel()
	url := txntest.NewDatabase(t, testschema.Migrated).OwnerURL()
	for name, sql := range map[string]string{
		"tables without a comment": `
			select relname::text from pg_class
			where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'goose_db_version'
			and obj_description(oid, 'pg_class') is null`,
		// The first columns of some index must be the foreign key's, in any order: else each
		// deletion or lookup of the parent reads the whole table.
		"foreign keys without an index": `
			select n.conname::text from pg_constraint n
			where n.contype = 'f' and n.connamespace = 'public'::regnamespace and not exists (
				select from pg_index i
				where i.indrelid = n.conrelid and i.indpred is null
				and (i.indkey::int2[])[0:0] <@ n.conkey)`,
		"texts without a limit": `
			select format('%s.%s', a.attrelid::regclass, a.attname) from pg_attribute a join pg_class r on r.oid = a.attrelid
			where r.relnamespace = 'public'::regnamespace and r.relkind = 'r' and a.attnum > 0 and a.atttypid = 'text'::regtype
			and not exists (
				select from pg_constraint n where n.conrelid = r.oid and n.contype = 'c' and n.conkey = array[a.attnum]
				and pg_get_constraintdef(n.oid) like '%length(%')`,
		"times without a zone": `
			select format('%s.%s', a.attrelid::regclass, a.attname) from pg_attribute a join pg_class r on r.oid = a.attrelid
			where r.relnamespace = 'public'::regnamespace and r.relkind = 'r' and r.relname <> 'goose_db_version'
			and a.atttypid = 'timestamp'::regtype`,
		"keys that are not bigint": `
			select format('%s.%s', a.attrelid::regclass, a.attname) from pg_attribute a join pg_class r on r.oid = a.attrelid
			where r.relnamespace = 'public'::regnamespace and r.relkind = 'r' and r.relname <> 'goose_db_version'
			and a.attnum > 0 and (a.attname = 'id' or a.attname like '%\_id' or a.attname like '%\_minor') and a.atttypid <> 'bigint'::regtype`,
	} {
		require.Empty(t, query(t, url, sql), name)
	}
}

func TestKeyFollowsTheMigrations(t *testing.T) {
	t.Parallel()
	first, err := testschema.Migrated.Key()
	require.NoError(t, err)
	second, err := testschema.Migrated.Key()
	require.NoError(t, err)
	require.Len(t, first, 64)
	require.Equal(t, first, second)
}

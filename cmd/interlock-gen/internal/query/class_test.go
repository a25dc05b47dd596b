package query_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// schema has what the statements below name.
const schema = `
	CREATE TABLE accounts (id bigint PRIMARY KEY, owner_id bigint, balance_minor bigint NOT NULL);
	CREATE TABLE users (id bigint PRIMARY KEY, name text);
	CREATE TABLE jobs (id bigint PRIMARY KEY, state text);
	CREATE SEQUENCE invoice_no;
	CREATE FUNCTION volatile_function(bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT $1';
	CREATE FUNCTION volatile_test(bigint, bigint) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
	CREATE FUNCTION stable_function(bigint) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT $1';
	CREATE FUNCTION overloaded(bigint) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT $1';
	CREATE FUNCTION overloaded(text) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT 1::bigint';
	CREATE PROCEDURE proc(bigint) LANGUAGE sql AS 'SELECT 1';
	CREATE OPERATOR %%% (FUNCTION = volatile_function, RIGHTARG = bigint);
	CREATE FUNCTION add(bigint, bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT $1 + $2';
	CREATE FUNCTION closing(users) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT $1.id';
	CREATE FUNCTION shown(users) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT $1.id';
	CREATE TYPE pair AS (a bigint);
	CREATE FUNCTION to_pair(bigint) RETURNS pair LANGUAGE sql VOLATILE AS 'SELECT ROW($1)::pair';
	CREATE CAST (bigint AS pair) WITH FUNCTION to_pair(bigint);
	CREATE AGGREGATE added(bigint) (SFUNC = add, STYPE = bigint);
	CREATE OPERATOR <%%> (FUNCTION = volatile_test, LEFTARG = bigint, RIGHTARG = bigint);
	CREATE VIEW plain_view AS SELECT id FROM accounts;
	CREATE VIEW locking_view AS SELECT id FROM accounts FOR UPDATE;
	CREATE VIEW outer_view AS SELECT id FROM locking_view;
	CREATE VIEW numbering_view AS SELECT nextval('invoice_no') AS n;
	CREATE SCHEMA app;
	CREATE TABLE app.accounts (id bigint PRIMARY KEY);`

// statements are the cases. A refused one has the beginning of the reason.
var statements = []struct {
	name    string
	sql     string
	class   query.Class
	facts   string
	refused string
}{
	{name: "select", sql: "SELECT id FROM accounts WHERE id = $1",
		class: query.Read, facts: "Reads accounts."},
	{name: "join", sql: "SELECT 1 FROM accounts a JOIN users u ON u.id = a.owner_id LEFT JOIN app.accounts x USING (id)",
		class: query.Read, facts: "Reads accounts, app.accounts, users."},
	{name: "values", sql: "VALUES (1), (2)",
		class: query.Read, facts: "Reads no table."},
	{name: "aggregate, window and case", sql: "SELECT count(*), CASE WHEN sum(balance_minor) > 0 THEN 1 END, rank() OVER (ORDER BY id), coalesce(max(id), 0)::text FROM accounts GROUP BY GROUPING SETS ((id), ()) HAVING count(*) > 1",
		class: query.Read, facts: "Reads accounts."},
	{name: "EXISTS, IN, ANY", sql: "SELECT EXISTS (SELECT 1 FROM users), id IN (SELECT id FROM jobs), id = ANY ($1::bigint[]) FROM accounts",
		class: query.Read, facts: "Reads accounts, jobs, users."},
	{name: "JSON and XML", sql: "SELECT json_object('a': id), JSON_ARRAY(id), x IS JSON, xmlelement(name a) FROM accounts, unnest(ARRAY['1']) x",
		class: query.Read, facts: "Reads accounts."},
	{name: "WITH RECURSIVE", sql: "WITH RECURSIVE t AS (SELECT id FROM accounts UNION ALL SELECT t.id + 1 FROM t WHERE t.id < 5) SELECT id FROM t",
		class: query.Read, facts: "Reads accounts."},
	{name: "WITH query that hides a table", sql: "WITH users AS (SELECT id FROM accounts) SELECT id FROM users",
		class: query.Read, facts: "Reads accounts."},
	{name: "WITH query of a table's own name", sql: "WITH accounts AS (SELECT id FROM accounts) SELECT id FROM accounts",
		class: query.Read, facts: "Reads accounts."},

	{name: "FOR UPDATE", sql: "SELECT id FROM accounts WHERE id = $1 FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE."},
	{name: "FOR NO KEY UPDATE NOWAIT", sql: "SELECT id FROM accounts FOR NO KEY UPDATE NOWAIT",
		class: query.Lock, facts: "Locks accounts FOR NO KEY UPDATE NOWAIT."},
	{name: "FOR SHARE SKIP LOCKED", sql: "SELECT id FROM accounts FOR SHARE SKIP LOCKED",
		class: query.Lock, facts: "Locks accounts FOR SHARE SKIP LOCKED."},
	{name: "FOR KEY SHARE OF one of two", sql: "SELECT 1 FROM accounts a JOIN users u ON u.id = a.owner_id FOR KEY SHARE OF a",
		class: query.Lock, facts: "Locks accounts FOR KEY SHARE. Reads users."},
	{name: "two lock clauses", sql: "SELECT 1 FROM accounts a, users u FOR UPDATE OF a FOR SHARE OF u NOWAIT",
		class: query.Lock, facts: "Locks accounts FOR UPDATE. Locks users FOR SHARE NOWAIT."},
	{name: "lock clause on all of a join", sql: "SELECT 1 FROM accounts a JOIN users u ON u.id = a.owner_id FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE. Locks users FOR UPDATE."},
	{name: "lock in WITH", sql: "WITH l AS (SELECT id FROM accounts FOR SHARE) SELECT id FROM l",
		class: query.Lock, facts: "Locks accounts FOR SHARE."},
	{name: "lock in subquery", sql: "SELECT 1 FROM users WHERE id = (SELECT owner_id FROM accounts LIMIT 1 FOR UPDATE)",
		class: query.Lock, facts: "Locks accounts FOR UPDATE. Reads users."},
	{name: "lock in derived table", sql: "SELECT 1 FROM (SELECT id FROM accounts FOR UPDATE) a",
		class: query.Lock, facts: "Locks accounts FOR UPDATE."},
	{name: "lock on derived table", sql: "SELECT 1 FROM (SELECT id FROM accounts) a FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE."},
	{name: "lock in an arm of UNION", sql: "(SELECT id FROM accounts FOR UPDATE) UNION ALL SELECT id FROM users",
		class: query.Lock, facts: "Locks accounts FOR UPDATE. Reads users."},
	{name: "lock in the second arm of EXCEPT", sql: "SELECT id FROM users EXCEPT (SELECT id FROM accounts FOR UPDATE)",
		class: query.Lock, facts: "Locks accounts FOR UPDATE. Reads users."},
	{name: "lock beside a WITH query that writes", sql: "WITH w AS (INSERT INTO jobs VALUES (1) RETURNING id) SELECT id FROM accounts FOR UPDATE",
		class: query.Lock, facts: "Writes jobs. Locks accounts FOR UPDATE."},
	{name: "lock in an order", sql: "SELECT id FROM accounts a ORDER BY a.owner_id DESC, id FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE, ordered by a.owner_id DESC, id."},
	{name: "lock in an order of other things", sql: "SELECT id FROM accounts ORDER BY id % 2, id FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE."},
	{name: "lock in an order by position", sql: "SELECT id FROM accounts ORDER BY 1 FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE."},
	{name: "lock in an order by the name of an expression", sql: "SELECT -id AS id FROM accounts ORDER BY id FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE."},
	{name: "lock in an order by the name of another column", sql: "SELECT owner_id AS id FROM accounts ORDER BY id FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE."},
	{name: "lock in an order by a column that the answer has", sql: "SELECT a.id AS id, -owner_id AS x FROM accounts a ORDER BY id, a.owner_id FOR UPDATE",
		class: query.Lock, facts: "Locks accounts FOR UPDATE, ordered by id, a.owner_id."},
	{name: "volatile function as an attribute", sql: "SELECT u.closing FROM users u",
		class: query.Lock, facts: "Reads users. Needs a transaction: closing may be a function of the row, which is declared VOLATILE."},
	{name: "volatile function as an attribute of an expression", sql: "SELECT (u).closing FROM users u",
		class: query.Lock, facts: "Reads users. Needs a transaction: closing may be a function of the row, which is declared VOLATILE."},
	{name: "stable function as an attribute", sql: "SELECT u.shown, (u).name FROM users u",
		class: query.Read, facts: "Reads users."},
	{name: "cast by a volatile function", sql: "SELECT id::pair FROM users",
		class: query.Lock, facts: "Reads users. Needs a transaction: a function that casts to pair is declared VOLATILE."},
	{name: "LOCK TABLE", sql: "LOCK TABLE accounts, users IN SHARE ROW EXCLUSIVE MODE NOWAIT",
		class: query.Lock, facts: "Locks accounts in SHARE ROW EXCLUSIVE mode NOWAIT. Locks users in SHARE ROW EXCLUSIVE mode NOWAIT."},
	{name: "pg_advisory_xact_lock", sql: "SELECT pg_advisory_xact_lock($1)",
		class: query.Lock, facts: "Needs a transaction: what pg_advisory_xact_lock() does may outlast the statement."},
	{name: "pg_try_advisory_xact_lock_shared", sql: "SELECT pg_catalog.pg_try_advisory_xact_lock_shared(1, 2)",
		class: query.Lock, facts: "Needs a transaction: what pg_try_advisory_xact_lock_shared() does may outlast the statement."},
	{name: "advisory lock in an argument", sql: "SELECT coalesce((SELECT pg_try_advisory_xact_lock(id) FROM jobs LIMIT 1), false)",
		class: query.Lock, facts: "Reads jobs. Needs a transaction: what pg_try_advisory_xact_lock() does may outlast the statement."},
	{name: "advisory lock in UPDATE", sql: "UPDATE jobs SET state = 'a' WHERE pg_try_advisory_xact_lock(id)",
		class: query.Lock, facts: "Writes jobs. Needs a transaction: what pg_try_advisory_xact_lock() does may outlast the statement."},

	{name: "INSERT", sql: "INSERT INTO users VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id",
		class: query.Write, facts: "Writes users."},
	{name: "INSERT in another schema", sql: "INSERT INTO app.accounts DEFAULT VALUES",
		class: query.Write, facts: "Writes app.accounts."},
	{name: "UPDATE FROM", sql: "UPDATE accounts a SET balance_minor = 0 FROM users u WHERE u.id = a.owner_id",
		class: query.Write, facts: "Writes accounts. Reads users."},
	{name: "DELETE USING", sql: "DELETE FROM accounts USING users WHERE users.id = owner_id",
		class: query.Write, facts: "Writes accounts. Reads users."},
	{name: "MERGE", sql: "MERGE INTO accounts a USING users u ON u.id = a.owner_id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 1, 1)",
		class: query.Write, facts: "Writes accounts. Reads users."},
	{name: "WITH query that writes", sql: "WITH gone AS (DELETE FROM jobs RETURNING id) SELECT id FROM gone",
		class: query.Write, facts: "Writes jobs."},
	{name: "claim", sql: "UPDATE jobs SET state = 'a' WHERE id = (SELECT id FROM jobs LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id",
		class: query.Write, facts: "Writes jobs. Locks jobs FOR UPDATE SKIP LOCKED."},
	{name: "FOR UPDATE in INSERT … SELECT", sql: "INSERT INTO users SELECT id FROM accounts FOR UPDATE",
		class: query.Write, facts: "Writes users. Locks accounts FOR UPDATE."},
	{name: "FOR UPDATE in the WITH of an UPDATE", sql: "WITH l AS (SELECT id FROM jobs FOR UPDATE) UPDATE jobs SET state = 'a' FROM l WHERE l.id = jobs.id",
		class: query.Write, facts: "Writes jobs. Locks jobs FOR UPDATE."},
	{name: "nextval", sql: "SELECT nextval('invoice_no')",
		class: query.Write, facts: "Calls nextval()."},
	{name: "pg_notify", sql: "SELECT pg_notify('a', 'b')",
		class: query.Write, facts: "Calls pg_notify()."},
	{name: "currval", sql: "SELECT currval('invoice_no')",
		class: query.Lock, facts: "Needs a transaction: what currval() does may outlast the statement."},

	{name: "volatile built-in functions without effect", sql: "SELECT clock_timestamp(), random(), gen_random_uuid(), pg_relation_size('accounts')",
		class: query.Read, facts: "Reads no table."},
	{name: "volatile function", sql: "SELECT volatile_function(1)",
		class: query.Lock, facts: "Calls volatile_function(). Needs a transaction: volatile_function() is declared VOLATILE."},
	{name: "volatile function in FROM", sql: "SELECT 1 FROM users, LATERAL volatile_function(users.id)",
		class: query.Lock, facts: "Reads users. Calls volatile_function(). Needs a transaction: volatile_function() is declared VOLATILE."},
	{name: "volatile function in INSERT", sql: "INSERT INTO users VALUES (volatile_function(1))",
		class: query.Lock, facts: "Writes users. Calls volatile_function(). Needs a transaction: volatile_function() is declared VOLATILE."},
	{name: "stable function", sql: "SELECT stable_function(1), public.stable_function(2)",
		class: query.Read, facts: "Calls stable_function()."},
	{name: "function with a volatile overload", sql: "SELECT overloaded(1)",
		class: query.Lock, facts: "Calls overloaded(). Needs a transaction: overloaded() is declared VOLATILE."},
	{name: "function that is not there", sql: "SELECT nowhere(1)",
		class: query.Lock, facts: "Calls nowhere(). Needs a transaction: nowhere() is not known."},
	{name: "operator of a volatile function", sql: "SELECT %%% 1::bigint",
		class: query.Lock, facts: "Needs a transaction: the function of the operator %%% is declared VOLATILE."},
	{name: "operator of a volatile function with ANY", sql: "SELECT id <%%> ANY (SELECT id FROM jobs) FROM users",
		class: query.Lock, facts: "Reads jobs, users. Needs a transaction: the function of the operator <%%> is declared VOLATILE."},
	{name: "aggregate of a volatile function", sql: "SELECT added(id) FROM users",
		class: query.Lock, facts: "Reads users. Calls added(). Needs a transaction: added() is declared VOLATILE."},
	{name: "view", sql: "SELECT id FROM plain_view",
		class: query.Read, facts: "Reads plain_view."},
	{name: "view that locks", sql: "SELECT id FROM public.locking_view",
		class: query.Lock, facts: "Reads locking_view. Needs a transaction: the view locking_view needs one."},
	{name: "view of a view that locks", sql: "SELECT id FROM outer_view",
		class: query.Lock, facts: "Reads outer_view. Needs a transaction: the view outer_view needs one."},
	{name: "view that draws numbers", sql: "SELECT n FROM numbering_view",
		class: query.Write, facts: "Reads numbering_view."},
	{name: "WITH query that hides a view", sql: "WITH locking_view AS (SELECT 1 AS id) SELECT id FROM locking_view",
		class: query.Read, facts: "Reads no table."},
	{name: "WITH query that reads the view it is named after", sql: "WITH locking_view AS (SELECT id FROM locking_view) SELECT id FROM locking_view",
		class: query.Lock, facts: "Reads locking_view. Needs a transaction: the view locking_view needs one."},
	{name: "view of the server's", sql: "SELECT 1 FROM pg_locks",
		class: query.Read, facts: "Reads pg_locks."},

	{name: "CALL", sql: "CALL proc(1)",
		class: query.Lock, facts: "Needs a transaction: what CALL does is not known."},
	{name: "EXPLAIN", sql: "EXPLAIN ANALYZE DELETE FROM jobs",
		class: query.Lock, facts: "Needs a transaction: what EXPLAIN does is not known."},
	{name: "TRUNCATE", sql: "TRUNCATE jobs",
		class: query.Lock, facts: "Needs a transaction: what TRUNCATE does is not known."},
	{name: "SELECT INTO", sql: "SELECT id INTO copied FROM accounts",
		class: query.Lock, facts: "Reads accounts. Needs a transaction: SELECT INTO makes a table."},
	{name: "WHERE CURRENT OF", sql: "DELETE FROM jobs WHERE CURRENT OF c",
		class: query.Lock, facts: "Writes jobs. Needs a transaction: what CurrentOfExpr does is not known."},
	{name: "SET LOCAL", sql: "SET LOCAL lock_timeout = '1s'",
		class: query.Lock, facts: "Needs a transaction: SET LOCAL holds until the transaction ends."},
	{name: "set_config of the transaction", sql: "SELECT set_config('a.b', $1, true)",
		class: query.Lock, facts: "Needs a transaction: set_config() holds until the transaction ends."},

	{name: "pg_advisory_lock", sql: "SELECT pg_advisory_lock(1)",
		refused: "pg_advisory_lock() locks for the session, and the connection goes back to the pool with the lock: use pg_advisory_xact_lock(), which"},
	{name: "pg_try_advisory_lock", sql: "SELECT 1 FROM jobs WHERE pg_try_advisory_lock(id) LIMIT 1",
		refused: "pg_try_advisory_lock() locks for the session, and the connection goes back to the pool with the lock: use pg_try_advisory_xact_lock(), which"},
	{name: "pg_advisory_unlock", sql: "SELECT pg_catalog.pg_advisory_unlock(1)",
		refused: "pg_advisory_unlock() belongs to locks of the session"},
	{name: "setseed", sql: "SELECT setseed(0.5)",
		refused: "setseed() acts on the session"},
	{name: "set_config of the session", sql: "SELECT set_config('a.b', $1, false)",
		refused: "set_config() outlives the transaction"},
	{name: "set_config of who knows", sql: "SELECT set_config('a.b', $1, $2)",
		refused: "set_config() outlives the transaction"},
	{name: "SET", sql: "SET lock_timeout = '1s'",
		refused: "SET outlives the transaction"},
	{name: "RESET", sql: "RESET ALL",
		refused: "RESET outlives the transaction"},
	{name: "SET TRANSACTION", sql: "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
		refused: "SET TRANSACTION does not belong in a query"},
	{name: "BEGIN", sql: "BEGIN",
		refused: "transaction control does not belong in a query"},
	{name: "COMMIT", sql: "COMMIT",
		refused: "transaction control does not belong in a query"},
	{name: "SAVEPOINT", sql: "SAVEPOINT a",
		refused: "transaction control does not belong in a query"},
	{name: "LISTEN", sql: "LISTEN a",
		refused: "LISTEN acts on the session"},
	{name: "PREPARE", sql: "PREPARE p AS SELECT 1",
		refused: "PREPARE acts on the session"},
	{name: "DISCARD", sql: "DISCARD ALL",
		refused: "DISCARD acts on the session"},
}

func TestClassify(t *testing.T) {
	t.Parallel()
	catalog := setup(t)
	for _, s := range statements {
		t.Run(s.name, func(t *testing.T) {
			facts, err := query.Classify(s.sql, catalog)
			if s.refused != "" {
				var refused *query.RefusedError
				require.ErrorAs(t, err, &refused)
				require.Contains(t, refused.Reason, s.refused)
				return
			}
			require.NoError(t, err)
			require.Equal(t, s.class, facts.Class, facts.Class)
			require.Equal(t, s.facts, facts.String())
		})
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	catalog := setup(t)
	for _, c := range []struct {
		cmd   string
		sql   string
		table string
		class query.Class
	}{
		{cmd: ":copyfrom", table: "users", class: query.Write},
		{cmd: ":batchexec", sql: "INSERT INTO users VALUES ($1)", class: query.Lock},
		{cmd: ":batchone", sql: "SELECT id FROM users WHERE id = $1", class: query.Read},
		{cmd: ":exec", sql: "INSERT INTO users VALUES ($1)", class: query.Write},
	} {
		facts, err := query.Of(c.cmd, c.sql, c.table, false, catalog)
		require.NoError(t, err)
		require.Equal(t, c.class, facts.Class, c.cmd)
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	catalog := setup(t)
	for _, c := range []struct{ name, sql, facts, refused string }{
		{name: "volatile function", sql: "SELECT volatile_function(id) FROM users",
			facts: "Reads users. Calls volatile_function()."},
		{name: "its operator and aggregate", sql: "SELECT %%% added(id) FROM users",
			facts: "Reads users. Calls added()."},
		{name: "its attribute and cast", sql: "SELECT u.closing, id::pair FROM users u",
			facts: "Reads users."},
		{name: "nothing to declare", sql: "SELECT stable_function(id), random() FROM users",
			refused: "@reads changes nothing, since all that the statement calls is known to read only: remove it"},
		{name: "lock clause", sql: "SELECT volatile_function(id) FROM users FOR SHARE",
			refused: "@reads speaks for functions of the application, and the statement does more than call them: remove it. Locks users FOR SHARE. Calls volatile_function()."},
		{name: "write in a WITH", sql: "WITH w AS (DELETE FROM users RETURNING id) SELECT volatile_function(id) FROM w",
			refused: "@reads speaks for functions of the application, and the statement does more than call them: remove it. Writes users. Calls volatile_function()."},
		{name: "advisory lock", sql: "SELECT volatile_function(id), pg_advisory_xact_lock(id) FROM users",
			refused: "@reads speaks for functions of the application, and the statement does more than call them: remove it. Reads users. Calls volatile_function(). Needs a transaction: what pg_advisory_xact_lock() does may outlast the statement."},
		{name: "view that locks", sql: "SELECT volatile_function(id) FROM locking_view",
			refused: "@reads speaks for functions of the application, and the statement does more than call them: remove it. Reads locking_view. Calls volatile_function(). Needs a transaction: the view locking_view needs one."},
		{name: "lock of the session", sql: "SELECT volatile_function(1), pg_advisory_lock(1)",
			refused: "pg_advisory_lock() locks for the session, and the connection goes back to the pool with the lock: use pg_advisory_xact_lock(), which holds until the transaction ends"},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts, err := query.Of(":one", c.sql, "", true, catalog)
			if c.refused != "" {
				require.EqualError(t, err, c.refused)
				require.ErrorAs(t, err, new(*query.RefusedError))
				return
			}
			require.NoError(t, err)
			require.Equal(t, query.Read, facts.Class)
			require.Equal(t, c.facts, facts.String())
		})
	}
}

func TestClassifyOneStatement(t *testing.T) {
	t.Parallel()
	catalog := setup(t)
	_, err := query.Classify("SELECT 1; SELECT 2", catalog)
	require.ErrorContains(t, err, "2 statements")
	_, err = query.Classify("SELEC 1", catalog)
	require.Error(t, err)
}

// setup returns the catalog of a database with the schema.
func setup(t testing.TB) *query.Catalog {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), server.AdminURL("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	// What is made in a transaction is seen in it, and goes with it.
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), schema)
	require.NoError(t, err)
	catalog, err := query.LoadCatalog(t.Context(), conn)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(t.Context()))
	return catalog
}

func TestSplit(t *testing.T) {
	t.Parallel()
	statements, err := query.Split("-- one;\nSELECT ';' AS a; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 2 $$;\n/* é; */ SELECT 3")
	require.NoError(t, err)
	require.Equal(t, []string{
		"-- one;\nSELECT ';' AS a",
		" CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 2 $$",
		"\n/* é; */ SELECT 3",
	}, statements)
	_, err = query.Split("SELECT FROM WHERE")
	require.Error(t, err)
	statements, err = query.Split("-- nothing")
	require.NoError(t, err)
	require.Empty(t, statements)
}

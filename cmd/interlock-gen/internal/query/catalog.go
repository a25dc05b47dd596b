package query

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Catalog holds what a parse tree does not say: what functions and operators may do, and
// what views stand for.
type Catalog struct {
	functions  map[string][]function // by unqualified name
	operators  map[string]bool       // those whose function is volatile
	attributes map[string]bool       // volatile functions that can be called as row.name
	casts      map[string]bool       // types of the application to which a volatile function casts
	views      map[string][]*view    // of the application, by unqualified name
	tables     map[string]*table     // of the application, as relation calls them
}

type function struct {
	schema   string
	builtin  bool
	volatile bool
	set      bool // it returns any number of rows
	grouping bool // it is an aggregate
}

type view struct {
	schema     string
	definition string
	class      Class
	classified bool
}

// LoadCatalog reads the catalog of a database in which the schema has been applied.
func LoadCatalog(ctx context.Context, conn *pgx.Conn) (*Catalog, error) {
	c := &Catalog{
		functions:  map[string][]function{},
		operators:  map[string]bool{},
		attributes: map[string]bool{},
		casts:      map[string]bool{},
		views:      map[string][]*view{},
		tables:     map[string]*table{},
	}
	var (
		name, schema, definition string
		volatile, set, aggregate bool
	)
	// An aggregate itself is always declared IMMUTABLE, whatever its functions are.
	rows, _ := conn.Query(ctx, `
		SELECT p.proname, n.nspname, p.provolatile = 'v' OR EXISTS (
			SELECT FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc f
			ON f.oid IN (a.aggtransfn, a.aggfinalfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
			WHERE a.aggfnoid = p.oid AND f.provolatile = 'v'), p.proretset, p.prokind = 'a'
		FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace`)
	_, err := pgx.ForEachRow(rows, []any{&name, &schema, &volatile, &set, &aggregate}, func() error {
		c.functions[name] = append(c.functions[name],
			function{schema: schema, builtin: schema == "pg_catalog", volatile: volatile, set: set, grouping: aggregate})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read functions: %w", err)
	}
	for _, hidden := range []struct {
		what  string
		names map[string]bool
		sql   string
	}{
		{"operators", c.operators, `
			SELECT DISTINCT o.oprname
			FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
			WHERE p.provolatile = 'v'`},
		{"functions of rows", c.attributes, `
			SELECT DISTINCT p.proname
			FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
			WHERE p.provolatile = 'v' AND p.pronamespace <> 'pg_catalog'::regnamespace
				AND t.typtype IN ('c', 'd', 'p') AND p.pronargs - p.pronargdefaults <= 1`},
		{"casts", c.casts, `
			SELECT DISTINCT t.typname
			FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc
			JOIN pg_catalog.pg_type t ON t.oid = k.casttarget
			WHERE p.provolatile = 'v' AND t.typnamespace <> 'pg_catalog'::regnamespace`},
	} {
		rows, _ = conn.Query(ctx, hidden.sql)
		_, err = pgx.ForEachRow(rows, []any{&name}, func() error {
			hidden.names[name] = true
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", hidden.what, err)
		}
	}
	rows, _ = conn.Query(ctx, `
		SELECT viewname, schemaname, definition FROM pg_catalog.pg_views
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	_, err = pgx.ForEachRow(rows, []any{&name, &schema, &definition}, func() error {
		c.views[name] = append(c.views[name], &view{schema: schema, definition: definition})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read views: %w", err)
	}
	return c, c.loadTables(ctx, conn)
}

// kind says what a function of the name makes of the rows of its statement: "aggregate" if
// one of all, "set" if many of each, "" otherwise.
func (c *Catalog) kind(name string) string {
	for _, f := range c.functions[name] {
		switch {
		case f.grouping:
			return "aggregate"
		case f.set:
			return "set"
		}
	}
	return ""
}

// view is what reading a table or view needs, where it is a view: the most that those of
// the name need, if no schema chooses among them.
func (c *Catalog) view(schema, name string) (class Class) {
	for _, v := range c.views[name] {
		if schema != "" && schema != v.schema {
			continue
		}
		if !v.classified {
			v.classified = true
			if facts, err := Classify(v.definition, c); err == nil {
				v.class = facts.Class
			} else {
				v.class = Lock
			}
		}
		class = max(class, v.class)
	}
	return class
}

// An effect is what calling a function means for the statement.
type effect int

const (
	harmless effect = iota // reads at most
	writes                 // writes, and is done when the statement is
	lasting                // holds until the transaction ends, or is not known
	session                // holds beyond the transaction
)

// effect is the worst that the functions of this name may do: the parser does not choose
// among overloads. Those of the application are trusted to read only, or not.
func (c *Catalog) effect(name []string, trusting bool) (effect, string) {
	last := name[len(name)-1]
	worst, why, found := harmless, "", false
	for _, f := range c.functions[last] {
		if len(name) > 1 && name[len(name)-2] != f.schema {
			continue
		}
		found = true
		if trusting && !f.builtin {
			continue
		}
		e := f.effect(last)
		if e <= worst {
			continue
		}
		worst = e
		switch {
		case !f.builtin:
			why = last + "() is declared VOLATILE"
		default:
			why = "what " + last + "() does may outlast the statement"
		}
	}
	if !found {
		return lasting, last + "() is not known"
	}
	return worst, why
}

// builtin reports whether all functions of the name are PostgreSQL's own.
func (c *Catalog) builtin(name string) bool {
	for _, f := range c.functions[name] {
		if !f.builtin {
			return false
		}
	}
	return len(c.functions[name]) > 0
}

// effect trusts the volatility that a function is declared with, as PostgreSQL does: one
// that is STABLE or IMMUTABLE can neither write nor take row locks. Built-in functions that
// are VOLATILE for another reason than an effect are known by name.
func (f function) effect(name string) effect {
	if !f.builtin {
		if f.volatile {
			return lasting
		}
		return harmless
	}
	if e, ok := effects[name]; ok {
		return e
	}
	if f.volatile {
		return lasting
	}
	return harmless
}

// effects are the built-in functions that are declared VOLATILE and need not have a
// transaction that goes on, or must not be called at all. A test compares the names with
// the server's.
var effects = map[string]effect{
	// Volatile because the answer changes.
	"array_sample":                         harmless,
	"array_shuffle":                        harmless,
	"clock_timestamp":                      harmless,
	"gen_random_uuid":                      harmless,
	"lo_get":                               harmless,
	"pg_blocking_pids":                     harmless,
	"pg_collation_actual_version":          harmless,
	"pg_current_wal_flush_lsn":             harmless,
	"pg_current_wal_insert_lsn":            harmless,
	"pg_current_wal_lsn":                   harmless,
	"pg_database_size":                     harmless,
	"pg_indexes_size":                      harmless,
	"pg_is_in_recovery":                    harmless,
	"pg_is_wal_replay_paused":              harmless,
	"pg_isolation_test_session_is_blocked": harmless,
	"pg_last_committed_xact":               harmless,
	"pg_last_wal_receive_lsn":              harmless,
	"pg_last_wal_replay_lsn":               harmless,
	"pg_last_xact_replay_timestamp":        harmless,
	"pg_lock_status":                       harmless,
	"pg_notification_queue_usage":          harmless,
	"pg_partition_ancestors":               harmless,
	"pg_partition_tree":                    harmless,
	"pg_relation_size":                     harmless,
	"pg_safe_snapshot_blocking_pids":       harmless,
	"pg_sequence_last_value":               harmless,
	"pg_sleep":                             harmless,
	"pg_sleep_for":                         harmless,
	"pg_sleep_until":                       harmless,
	"pg_table_size":                        harmless,
	"pg_tablespace_size":                   harmless,
	"pg_total_relation_size":               harmless,
	"pg_xact_commit_timestamp":             harmless,
	"pg_xact_status":                       harmless,
	"random":                               harmless,
	"random_normal":                        harmless,
	"timeofday":                            harmless,
	"txid_status":                          harmless,
	"uuidv4":                               harmless,
	"uuidv7":                               harmless,

	// Done when the statement is.
	"nextval":   writes,
	"pg_notify": writes,
	"setval":    writes,

	// Held by the connection, which goes back to the pool.
	"pg_advisory_lock":            session,
	"pg_advisory_lock_shared":     session,
	"pg_advisory_unlock":          session,
	"pg_advisory_unlock_all":      session,
	"pg_advisory_unlock_shared":   session,
	"pg_try_advisory_lock":        session,
	"pg_try_advisory_lock_shared": session,
	"setseed":                     session,
}

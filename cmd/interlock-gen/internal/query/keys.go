package query

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A table is one of the application's, or a view, which has no keys.
type table struct {
	columns    map[string]bool // and whether they are NOT NULL
	keys       [][]string      // columns that no two rows agree in, the primary key first
	partial    []partialKey
	references []reference
}

// A partialKey has columns that no two rows agree in for which some conditions hold.
type partialKey struct {
	columns    []string
	conditions []string // as condition writes them
}

// loadTables reads columns and keys. An index is a key if it holds for all rows, on columns
// alone, and at once: so the server sees it for foreign keys and for the strength of locks.
// One with a WHERE is a partial key.
func (c *Catalog) loadTables(ctx context.Context, conn *pgx.Conn) error {
	var (
		schema, name, column, predicate string
		notNull                         bool
		key                             []string
	)
	rows, _ := conn.Query(ctx, `
		SELECT n.nspname, c.relname, a.attname, a.attnotnull
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
			AND n.nspname NOT LIKE 'pg_toast%'`)
	_, err := pgx.ForEachRow(rows, []any{&schema, &name, &column, &notNull}, func() error {
		t := c.tables[qualified(schema, name)]
		if t == nil {
			t = &table{columns: map[string]bool{}}
			c.tables[qualified(schema, name)] = t
		}
		t.columns[column] = notNull
		return nil
	})
	if err != nil {
		return fmt.Errorf("read tables: %w", err)
	}
	rows, _ = conn.Query(ctx, `
		SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY k.place),
			coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), '')
		FROM pg_catalog.pg_index i
		JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
		WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indexprs IS NULL
			AND k.place <= i.indnkeyatts AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
		GROUP BY n.nspname, c.relname, i.indexrelid, i.indrelid, i.indisprimary, i.indpred
		ORDER BY i.indisprimary DESC, i.indexrelid`)
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &key, &predicate}, func() error {
		t := c.tables[qualified(schema, name)]
		switch {
		case t == nil:
		case predicate == "":
			t.keys = append(t.keys, slices.Clone(key))
		default:
			conditions, err := conditionsOf(predicate)
			if err != nil {
				return err
			}
			t.partial = append(t.partial, partialKey{slices.Clone(key), conditions})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read unique indexes: %w", err)
	}
	return c.loadReferences(ctx, conn)
}

// qualified is the name by which relation calls a table.
func qualified(schema, name string) string {
	if schema == "public" {
		return name
	}
	return schema + "." + name
}

// conditionsOf are those that AND joins in the predicate of an index.
func conditionsOf(predicate string) (conditions []string, err error) {
	_, stmt, err := parse("SELECT WHERE " + predicate)
	if err != nil {
		return nil, err
	}
	for _, c := range conjuncts(child(stmt, "whereClause")) {
		written, ok := condition(c, func(n node) string {
			name := words(list(n, "fields"))
			return name[len(name)-1]
		})
		if !ok {
			return nil, fmt.Errorf("the predicate %s cannot be compared", predicate)
		}
		conditions = append(conditions, written)
	}
	return conditions, nil
}

// condition writes a condition so that two that mean the same by their form are equal: with
// columns as they are called, and without the types of constants, which the server adds to
// what it shows of an index. It is false where a column has no name.
func condition(n node, called func(columnRef node) string) (written string, ok bool) {
	ok = true
	var copied func(v any) any
	copied = func(v any) any {
		switch v := v.(type) {
		case []any:
			all := make([]any, len(v))
			for i := range v {
				all[i] = copied(v[i])
			}
			return all
		case node:
			if ref := child(v, "ColumnRef"); ref != nil {
				name := called(ref)
				ok = ok && name != ""
				return node{"column": name}
			}
			if constant := child(v, "TypeCast", "arg"); child(constant, "A_Const") != nil {
				v = constant
			}
			all := node{}
			for field, value := range v {
				if field != "location" {
					all[field] = copied(value)
				}
			}
			return all
		}
		return v
	}
	encoded, err := json.Marshal(copied(n))
	return string(encoded), ok && err == nil
}

// inKey reports whether a column belongs to a key of the table.
func (t *table) inKey(column string) bool {
	return slices.ContainsFunc(t.keys, func(key []string) bool { return slices.Contains(key, column) })
}

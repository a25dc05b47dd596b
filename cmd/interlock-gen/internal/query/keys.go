package query

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A table is one of the application's, or a view, which has no keys.
type table struct {
	columns    map[string]bool // and whether they are NOT NULL
	keys       [][]string      // columns that no two rows agree in, the primary key first
	references []reference
}

// loadTables reads columns and keys. An index is a key if it holds for all rows, on columns
// alone, and at once: so the server sees it for foreign keys and for the strength of locks.
func (c *Catalog) loadTables(ctx context.Context, conn *pgx.Conn) error {
	var (
		schema, name, column string
		notNull              bool
		key                  []string
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
		SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY k.place)
		FROM pg_catalog.pg_index i
		JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
		WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
			AND k.place <= i.indnkeyatts AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
		GROUP BY n.nspname, c.relname, i.indexrelid, i.indisprimary
		ORDER BY i.indisprimary DESC, i.indexrelid`)
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &key}, func() error {
		if t := c.tables[qualified(schema, name)]; t != nil {
			t.keys = append(t.keys, slices.Clone(key))
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

// inKey reports whether a column belongs to a key of the table.
func (t *table) inKey(column string) bool {
	return slices.ContainsFunc(t.keys, func(key []string) bool { return slices.Contains(key, column) })
}

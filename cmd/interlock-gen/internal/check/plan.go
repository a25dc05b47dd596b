package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// lockScan asks the server how it finds the rows that are locked.
func lockScan(r *run, s *Statement) {
	tables := map[string]string{}
	for _, t := range s.shape.Touches {
		if t.Nullable || t.Grouped != "" {
			return // there is no plan
		}
		if t.By != "INSERT" {
			tables[t.Table] = t.By
		}
	}
	if len(tables) == 0 {
		return
	}
	root, err := explain(r.ctx, r.conn, s.SQL)
	if errors.As(err, new(*pgconn.PgError)) {
		// The planner may call functions, and some fail where there is no data, and no setting
		// such as the tenant's. What is wrong with the statement itself sqlc has been told.
		return
	}
	if err != nil {
		r.err = fmt.Errorf("%s: %s: ask PostgreSQL for a plan: %w", s.Position(), s.Name, err)
		return
	}
	partial, err := r.partialIndexes()
	if err != nil {
		r.err = fmt.Errorf("read the indexes with a WHERE: %w", err)
		return
	}
	for _, table := range root.scanned(partial) {
		by, ok := tables[table]
		if !ok || everyRow(s.shape, table) {
			continue
		}
		if by == "SELECT" {
			by = "the lock clause"
		}
		r.report(s, table, "%s finds its rows by reading all of %s, each time: add an index for its conditions, or other conditions", by, table)
	}
}

// everyRow reports whether no-where has said already that all rows of a table are meant.
func everyRow(shape *query.Shape, table string) bool {
	return slices.ContainsFunc(shape.Touches, func(t query.Touch) bool {
		return t.Table == table && t.By != "SELECT" && !t.Where
	})
}

// A plan is a node of EXPLAIN's answer.
type plan struct {
	Type     string `json:"Node Type"`
	Schema   string
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Plans    []*plan
}

// explain returns the plan that a statement has whatever its arguments are. The tables are
// empty, and the planner would read them whole because that is quickest, or to join them with
// another: it is told not to where there is another way, so that the answer does not depend
// on what is in them.
func explain(ctx context.Context, conn *pgx.Conn, sql string) (root *plan, err error) {
	const prepared = "interlock_check"
	if _, err := conn.PgConn().Exec(ctx, "PREPARE "+prepared+" AS "+sql).ReadAll(); err != nil {
		return nil, err
	}
	defer func() {
		_, cleared := conn.PgConn().Exec(ctx, "DEALLOCATE "+prepared).ReadAll()
		err = errors.Join(err, cleared)
	}()
	var parameters int
	err = conn.QueryRow(ctx, "SELECT cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements WHERE name = $1", prepared).Scan(&parameters)
	if err != nil {
		return nil, err
	}
	execute := "EXECUTE " + prepared
	if parameters > 0 {
		execute += "(NULL" + strings.Repeat(", NULL", parameters-1) + ")"
	}
	// One text is one transaction, which the settings end with.
	results, err := conn.PgConn().Exec(ctx, "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; "+
		"SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; EXPLAIN (FORMAT JSON, VERBOSE) "+execute).ReadAll()
	if err != nil {
		return nil, err
	}
	var answer []struct{ Plan *plan }
	if err := json.Unmarshal(results[len(results)-1].Rows[0][0], &answer); err != nil {
		return nil, err
	}
	return answer[0].Plan, nil
}

// partialIndexes are those with a WHERE, by schema and name.
func (r *run) partialIndexes() (map[string]bool, error) {
	if r.partial == nil {
		r.partial = map[string]bool{}
		rows, _ := r.conn.Query(r.ctx, `SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_index i
			JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE i.indpred IS NOT NULL`)
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			r.partial[name] = true
		}
	}
	return r.partial, nil
}

// scanned are the tables that are read whole in order to lock or change rows. An index of
// some rows alone serves conditions of the statement, even if it is read whole, and with no
// rows in the table the planner may take it for any other that would do.
func (p *plan) scanned(partial map[string]bool) (tables []string) {
	var look func(p *plan, locking, limited bool)
	look = func(p *plan, locking, limited bool) {
		switch p.Type {
		case "LockRows", "ModifyTable":
			locking = true
		case "Limit":
			limited = true
		}
		// An index that is read without a condition is read whole, but for a LIMIT.
		byIndex := (p.Type == "Index Scan" || p.Type == "Index Only Scan") && p.Cond == "" && !limited && !partial[p.Schema+"."+p.Index]
		if table := p.table(); locking && (p.Type == "Seq Scan" || byIndex) && !slices.Contains(tables, table) {
			tables = append(tables, table)
		}
		for _, sub := range p.Plans {
			look(sub, locking, limited)
		}
	}
	look(p, false, false)
	return tables
}

func (p *plan) table() string {
	if p.Schema == "public" {
		return p.Relation
	}
	return p.Schema + "." + p.Relation
}

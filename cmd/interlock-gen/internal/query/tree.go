package query

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A node is a message of the parse tree. Its fields begin with a small letter. Where a
// field may hold several kinds of message, what is there is a node with one key, the kind,
// which begins with a capital letter.
type node = map[string]any

// Warm makes the parser ready. With the one compiled to WebAssembly that takes a second or
// two, once in a process.
func Warm() error {
	_, err := parseJSON("SELECT 1")
	return err
}

// parse returns the kind and the fields of the one statement in sql.
func parse(sql string) (kind string, stmt node, err error) {
	text, err := parseJSON(sql)
	if err != nil {
		return "", nil, err
	}
	var tree struct {
		Stmts []struct{ Stmt map[string]node }
	}
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return "", nil, err
	}
	if len(tree.Stmts) != 1 || len(tree.Stmts[0].Stmt) != 1 {
		return "", nil, fmt.Errorf("%d statements where one is expected", len(tree.Stmts))
	}
	for kind, stmt = range tree.Stmts[0].Stmt {
	}
	return kind, stmt, nil
}

// Split cuts a text of SQL into its statements, each with the comments before it.
func Split(sql string) (statements []string, err error) {
	text, err := parseJSON(sql)
	if err != nil {
		return nil, err
	}
	var tree struct {
		Stmts []struct {
			At     int `json:"stmt_location"`
			Length int `json:"stmt_len"` // 0: to the end
		}
	}
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return nil, err
	}
	for _, s := range tree.Stmts {
		end := s.At + s.Length
		if s.Length == 0 {
			end = len(sql)
		}
		statements = append(statements, sql[s.At:end])
	}
	return statements, nil
}

// child is the message in a field, whatever its kind.
func child(n node, path ...string) node {
	for _, field := range path {
		n, _ = n[field].(node)
	}
	return n
}

func list(n node, field string) []any {
	l, _ := n[field].([]any)
	return l
}

func text(n node, field string) string {
	s, _ := n[field].(string)
	return s
}

// words are the strings of a qualified name, outermost first.
func words(l []any) (names []string) {
	for _, v := range l {
		n, _ := v.(node)
		names = append(names, text(child(n, "String"), "sval"))
	}
	return names
}

// relation is the name of a RangeVar: schema.table, or the table alone in public.
func relation(rangeVar node) string {
	name := text(rangeVar, "relname")
	if schema := text(rangeVar, "schemaname"); schema != "" && schema != "public" {
		return schema + "." + name
	}
	return name
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// isKind tells a key that names the kind of a message from one that names a field.
func isKind(key string) bool { return key[:1] == strings.ToUpper(key[:1]) }

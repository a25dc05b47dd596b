//go:build windows || !cgo

package query

import (
	pganalyze "github.com/pganalyze/pg_query_go/v6"
	pgquery "github.com/wasilibs/go-pgquery"
)

// parseJSON is the parser that sqlc links where there is no C compiler: the same one,
// compiled to WebAssembly.
func parseJSON(sql string) (string, error) { return pgquery.ParseToJSON(sql) }

// scan splits a text into tokens.
func scan(sql string) ([]*pganalyze.ScanToken, error) {
	result, err := pgquery.Scan(sql)
	return result.GetTokens(), err
}

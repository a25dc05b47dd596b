//go:build !windows && cgo

package query

import pgquery "github.com/pganalyze/pg_query_go/v6"

// parseJSON must come from the parser that sqlc links under the same build tags. Its
// successor beside it panics at start-up, since both register pg_query.proto.
func parseJSON(sql string) (string, error) { return pgquery.ParseToJSON(sql) }

// scan splits a text into tokens.
func scan(sql string) ([]*pgquery.ScanToken, error) {
	result, err := pgquery.Scan(sql)
	return result.GetTokens(), err
}

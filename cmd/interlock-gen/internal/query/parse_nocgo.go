//go:build windows || !cgo

package query

import pgquery "github.com/wasilibs/go-pgquery"

// parseJSON is the parser that sqlc links where there is no C compiler: the same one,
// compiled to WebAssembly.
func parseJSON(sql string) (string, error) { return pgquery.ParseToJSON(sql) }

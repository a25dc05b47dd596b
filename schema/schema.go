// Package schema holds the migrations of the reference application, in goose's format, one
// for each business noun. Apply them with "interlock migrate up".
package schema

import "embed"

// FS holds the migrations, at its root.
//
//go:embed *.sql
var FS embed.FS

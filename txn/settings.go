package txn

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// settingName is what a setting may be called: PostgreSQL's own, or one of an application's
// with a prefix, such as app.tenant.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// refusedSettings are those that must not be set by Settings, and why.
var refusedSettings = map[string]string{
	"search_path":                         "statements are prepared before it would take effect: qualify names, or set it for the role",
	"role":                                "statements are prepared before it would take effect: connect as the role",
	"session_authorization":               "statements are prepared before it would take effect: connect as the role",
	"lock_timeout":                        "use Options.LockTimeout",
	"statement_timeout":                   "use Options.StatementTimeout",
	"idle_in_transaction_session_timeout": "use Options.IdleTimeout",
	"transaction_timeout":                 "use Options.Timeout",
	"transaction_isolation":               "use Options.Isolation",
	"transaction_read_only":               "use WithReadTx",
	"transaction_deferrable":              "use Options.Deferrable",
	"synchronous_commit":                  "use Options.SynchronousCommit",
	"standard_conforming_strings":         "it changes how statements are read",
	"client_encoding":                     "it changes how statements are read",
	"transform_null_equals":               "it changes how statements are read",
}

func validateSettings(field string, settings map[string]string) error {
	if len(settings) == 0 {
		return nil
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !settingName.MatchString(name) || len(name) > 63 {
			return &OptionsError{field, fmt.Sprintf("%q is not the name of a setting", name)}
		}
		if why := refusedSettings[strings.ToLower(name)]; why != "" {
			return &OptionsError{field, name + ": " + why}
		}
		if other := seen[strings.ToLower(name)]; other != "" {
			return &OptionsError{field, other + " and " + name + " are one setting: which value it would get is chance"}
		}
		seen[strings.ToLower(name)] = name
		if !storable(settings[name]) {
			return &OptionsError{field, name + ": the value is not a text that PostgreSQL can store: UTF-8 without zero bytes"}
		}
	}
	return nil
}

// unsafeEncodings are those in which a byte that is a backslash in ASCII may be a part of a
// character, where it would not escape what follows it.
var unsafeEncodings = []string{"BIG5", "GB18030", "GBK", "JOHAB", "SHIFT_JIS_2004", "SJIS", "UHC"}

// refuseEncoding refuses to send the settings in an encoding in which they could be read as
// something else.
func refuseEncoding(c *pgconn.PgConn, settings map[string]string) error {
	if len(settings) == 0 {
		return nil
	}
	encoding := c.ParameterStatus("client_encoding")
	if !slices.Contains(unsafeEncodings, encoding) {
		return nil
	}
	for name, value := range settings {
		if strings.ContainsFunc(value, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return &OptionsError{"Settings", name + ": a value that is not ASCII is not safe in client_encoding " + encoding + "; use UTF8, as Go does"}
		}
	}
	return nil
}

// settingsSQL returns the SET LOCAL statements for the settings, in the order of their
// names. Unlike set_config, SET takes no snapshot.
func settingsSQL(settings map[string]string) []string {
	if len(settings) == 0 {
		return nil
	}
	statements := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		statements = append(statements, "set local "+quoteSetting(name)+" = "+literal(settings[name]))
	}
	return statements
}

// quoteSetting quotes a name's parts: each may be a word of SQL, as in app.user.
func quoteSetting(name string) string { return `"` + settingQuotes.Replace(name) + `"` }

var settingQuotes = strings.NewReplacer(".", `"."`, `"`, `""`)

// literal quotes a text so that it means itself whatever standard_conforming_strings is.
func literal(text string) string {
	return "E'" + literalEscapes.Replace(text) + "'"
}

var literalEscapes = strings.NewReplacer(`\`, `\\`, `'`, `''`)

// maxAppName is the longest application_name that the server does not cut.
const maxAppName = 63

// appName is a label as application_name can hold it: printable ASCII.
func appName(label string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, label)
	return clean[:min(len(clean), maxAppName)]
}

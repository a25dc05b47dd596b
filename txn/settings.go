package txn

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
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
}

func validateSettings(field string, settings map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !settingName.MatchString(name) || len(name) > 63 {
			return &OptionsError{field, fmt.Sprintf("%q is not the name of a setting", name)}
		}
		if why := refusedSettings[strings.ToLower(name)]; why != "" {
			return &OptionsError{field, name + ": " + why}
		}
		if strings.ContainsRune(settings[name], 0) {
			return &OptionsError{field, name + ": the value holds a zero byte"}
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
		statements = append(statements, "set local "+name+" = "+literal(settings[name]))
	}
	return statements
}

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

package sqltext_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/internal/sqltext"
)

func TestFirstWord(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][2]string{
		"":                              {},
		"commit":                        {"commit", ""},
		"COMMIT;":                       {"commit", ";"},
		" \t\r\n\f\v;;commit and chain": {"commit", " and chain"},
		"-- why\ncommit":                {"commit", ""},
		"-- why\rcommit":                {"commit", ""},
		"-- why":                        {},
		"/* /* nested */ */commit/* */": {"commit", "/* */"},
		"/**/commit":                    {"commit", ""},
		"/*/ commit":                    {},
		"/* commit */*/":                {"", "*/"},
		"commit_it()":                   {"commit_it", "()"},
		"'commit'":                      {"", "'commit'"},
		"/":                             {"", "/"},
	} {
		word, rest := sqltext.FirstWord(sql)
		require.Equal(t, want, [2]string{word, rest}, "%q", sql)
	}
}

func TestAfterFirst(t *testing.T) {
	t.Parallel()
	for sql, c := range map[string]struct {
		rest  string
		clear bool
	}{
		"":                         {"", true},
		"select 1":                 {"", true},
		"select 1;":                {"", true},
		";; select 1; select 2":    {" select 2", true},
		"select ';'; select 2":     {" select 2", true},
		`select ";"; select 2`:     {" select 2", true},
		"select $a$;$$;$a$; end":   {" end", true},
		"select 1 /* ; */; end":    {" end", true},
		"select 1 -- ;\n; end":     {" end", true},
		`select E'\'; end'; end`:   {" end'; end", false},
		"select 'not closed; end":  {" end", false},
		"select $1; select $2":     {" select $2", true},
		"select a$b$; select c$b$": {" select c$b$", true},
	} {
		rest, clear := sqltext.AfterFirst(sql)
		require.Equal(t, c.rest, rest, "%q", sql)
		require.Equal(t, c.clear, clear, "%q", sql)
	}
}

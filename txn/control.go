package txn

import (
	"strings"

	"github.com/interlock-go/interlock/txn/internal/sqltext"
)

// queryName is how messages name a statement: the name that sqlc wrote into its first
// line, else the text's beginning. Arguments never appear.
func queryName(sql string) string {
	if head, ok := strings.CutPrefix(sql, "-- name: "); ok {
		name, _, _ := strings.Cut(head, "\n")
		name, _, _ = strings.Cut(name, " ")
		return name
	}
	const most = 60
	line := strings.Join(strings.Fields(sql), " ")
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}

// transactionControl reports whether one of the text's commands would begin, end or subdivide
// a transaction. Of those behind the first an END is left to the connection's status
// afterwards, because the body of an SQL function ends with it too, and so is all of a text
// that cannot be told apart for sure.
func transactionControl(sql string) bool {
	for first, clear := true, true; clear && sql != ""; first = false {
		if word, rest := sqltext.FirstWord(sql); control(word, rest) && (first || word != "end") {
			return true
		}
		sql, clear = sqltext.AfterFirst(sql)
	}
	return false
}

func control(word, rest string) bool {
	switch word {
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return true
	case "prepare":
		word, _ = sqltext.FirstWord(rest)
		return word == "transaction"
	}
	return false
}

// sessionSetting reports whether one of the text's commands would set something for the
// session, past the transaction's end.
func sessionSetting(sql string) bool {
	for sql != "" {
		switch word, rest := sqltext.FirstWord(sql); word {
		case "reset", "discard":
			return true
		case "set":
			word, _ := sqltext.FirstWord(rest)
			if word != "local" && word != "constraints" && word != "transaction" {
				return true
			}
		}
		sql, _ = sqltext.AfterFirst(sql)
	}
	return false
}

// bare reports whether the text is a single word, as names of prepared statements are.
func bare(sql string) bool { return !strings.ContainsAny(sql, " \t\r\n\f\v('\";*") && sql != "" }

// several reports whether the text may hold more than one statement. It may be wrong about
// the body of an SQL function, but never misses a statement.
func several(sql string) bool {
	rest, _ := sqltext.AfterFirst(sql)
	return sqltext.SkipBlank(rest) != ""
}

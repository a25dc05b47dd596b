package txn

import "strings"

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

// transactionControl reports whether the text's first command would begin, end or
// subdivide a transaction. It reads no further: commands behind a semicolon show in the
// connection's status afterwards.
func transactionControl(sql string) bool {
	word, rest := firstWord(sql)
	switch word {
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return true
	case "prepare":
		word, _ = firstWord(rest)
		return word == "transaction"
	}
	return false
}

// sessionSetting reports whether the text's first command would set something for the
// session, past the transaction's end.
func sessionSetting(sql string) bool {
	word, rest := firstWord(sql)
	switch word {
	case "reset", "discard":
		return true
	case "set":
		switch word, _ := firstWord(rest); word {
		case "local", "constraints", "transaction":
			return false
		}
		return true
	}
	return false
}

// firstWord returns the first keyword of sql in lower case and what follows it, past
// blanks, semicolons and comments.
func firstWord(sql string) (word, rest string) {
	sql = skipBlank(sql)
	i := 0
	for i < len(sql) && (sql[i]|0x20 >= 'a' && sql[i]|0x20 <= 'z' || sql[i] == '_') {
		i++
	}
	return strings.ToLower(sql[:i]), sql[i:]
}

func skipBlank(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\r\n\f\v;")
		switch {
		case strings.HasPrefix(sql, "--"):
			_, after, _ := strings.Cut(sql, "\n")
			sql = after
		case strings.HasPrefix(sql, "/*"):
			sql = skipComment(sql)
		default:
			return sql
		}
	}
}

// skipComment skips a block comment; PostgreSQL's nest.
func skipComment(sql string) string {
	depth := 0
	for i := 0; i+1 < len(sql); i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return sql[i+1:]
			}
		}
	}
	return ""
}

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
			sql = skipLine(sql)
		case strings.HasPrefix(sql, "/*"):
			sql = skipComment(sql)
		default:
			return sql
		}
	}
}

// skipLine skips to the line's end, which ends a comment.
func skipLine(sql string) string {
	if end := strings.IndexAny(sql, "\r\n"); end >= 0 {
		return sql[end:]
	}
	return ""
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

// bare reports whether the text is a single word, as names of prepared statements are.
func bare(sql string) bool { return !strings.ContainsAny(sql, " \t\r\n\f\v('\";*") && sql != "" }

// several reports whether the text may hold more than one statement. It may be wrong about
// the body of an SQL function, but never misses a statement.
func several(sql string) bool {
	if strings.IndexByte(sql, ';') < 0 {
		return false
	}
	ended := false // a statement was, by a semicolon
	for i := 0; i < len(sql); {
		switch c := sql[i]; {
		case c == ';':
			ended = true
			i++
		case isBlank(c):
			i++
		case strings.HasPrefix(sql[i:], "--"):
			i = len(sql) - len(skipLine(sql[i:]))
		case strings.HasPrefix(sql[i:], "/*"):
			i = len(sql) - len(skipComment(sql[i:]))
		case ended:
			return true
		case c == '\'', c == '"', c == '$':
			end, clear := quoted(sql, i)
			if !clear {
				return strings.IndexByte(sql[i:], ';') >= 0
			}
			i = end
		default:
			i++
		}
	}
	return false
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// isWord reports whether c may be within a name; bytes of other alphabets may.
func isWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// quoted returns where the string, quoted name or dollar-quoted string ends that begins at i.
// It is not clear where that is if a backslash may escape the closing quote: it does in
// E-strings, and in all others where the server's standard_conforming_strings is off.
func quoted(sql string, i int) (end int, clear bool) {
	quote := sql[i : i+1]
	if quote == "$" {
		tag := dollarTag(sql, i)
		if tag == "" {
			return i + 1, true
		}
		i += len(tag) - 1
		quote = tag
	}
	n := strings.Index(sql[i+1:], quote)
	if n < 0 {
		return 0, false
	}
	if quote == "'" && strings.HasSuffix(sql[i+1:i+1+n], `\`) {
		return 0, false
	}
	return i + 1 + n + len(quote), true
}

// dollarTag is the opening tag of a dollar-quoted string at i, or "" if there is none.
func dollarTag(sql string, i int) string {
	if i > 0 && isWord(sql[i-1]) {
		return ""
	}
	for j := i + 1; j < len(sql); j++ {
		switch c := sql[j]; {
		case c == '$':
			return sql[i : j+1]
		case !isWord(c), j == i+1 && c >= '0' && c <= '9':
			return ""
		}
	}
	return ""
}

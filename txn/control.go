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

// transactionControl reports whether one of the text's commands would begin, end or subdivide
// a transaction. Of those behind the first an END is left to the connection's status
// afterwards, because the body of an SQL function ends with it too, and so is all of a text
// that cannot be told apart for sure.
func transactionControl(sql string) bool {
	for first, clear := true, true; clear && sql != ""; first = false {
		if word, rest := firstWord(sql); control(word, rest) && (first || word != "end") {
			return true
		}
		sql, clear = afterFirst(sql)
	}
	return false
}

func control(word, rest string) bool {
	switch word {
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return true
	case "prepare":
		word, _ = firstWord(rest)
		return word == "transaction"
	}
	return false
}

// sessionSetting reports whether one of the text's commands would set something for the
// session, past the transaction's end.
func sessionSetting(sql string) bool {
	for sql != "" {
		switch word, rest := firstWord(sql); word {
		case "reset", "discard":
			return true
		case "set":
			word, _ := firstWord(rest)
			if word != "local" && word != "constraints" && word != "transaction" {
				return true
			}
		}
		sql, _ = afterFirst(sql)
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
	rest, _ := afterFirst(sql)
	return skipBlank(rest) != ""
}

// afterFirst returns what follows the text's first statement and its semicolon. It is not
// clear where that ends if a backslash may escape a quote; then it is what follows any
// semicolon from there on.
func afterFirst(sql string) (rest string, clear bool) {
	if strings.IndexByte(sql, ';') < 0 {
		return "", true
	}
	begun := false
	for i := 0; i < len(sql); {
		switch c := sql[i]; {
		case c == ';' && begun:
			return sql[i+1:], true
		case c == ';', isBlank(c):
			i++
		case strings.HasPrefix(sql[i:], "--"):
			i = len(sql) - len(skipLine(sql[i:]))
		case strings.HasPrefix(sql[i:], "/*"):
			i = len(sql) - len(skipComment(sql[i:]))
		case c == '\'', c == '"', c == '$':
			end, clear := quoted(sql, i)
			if !clear {
				_, rest, _ = strings.Cut(sql[i:], ";")
				return rest, false
			}
			i, begun = end, true
		default:
			i, begun = i+1, true
		}
	}
	return "", true
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

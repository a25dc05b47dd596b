// Package sqltext finds words and statements in a text of SQL, as far as that can be done
// without parsing it.
package sqltext

import "strings"

// FirstWord returns the first keyword of sql in lower case and what follows it, past
// blanks, semicolons and comments.
func FirstWord(sql string) (word, rest string) {
	sql = SkipBlank(sql)
	i := 0
	for i < len(sql) && (sql[i]|0x20 >= 'a' && sql[i]|0x20 <= 'z' || sql[i] == '_') {
		i++
	}
	return strings.ToLower(sql[:i]), sql[i:]
}

// SkipBlank returns sql from its first character on that is neither a blank, a semicolon nor
// in a comment.
func SkipBlank(sql string) string {
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

// AfterFirst returns what follows the text's first statement and its semicolon. It is not
// clear where that ends if a backslash may escape a quote; then it is what follows any
// semicolon from there on.
func AfterFirst(sql string) (rest string, clear bool) {
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

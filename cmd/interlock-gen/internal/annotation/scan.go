package annotation

import (
	"strings"
)

// A statement is a part of a file that ends with a semicolon, or with the file. What stands
// before its first word belongs to it too: that is how PostgreSQL's parser cuts, and with it
// sqlc.
type statement struct {
	start    int  // behind the semicolon before it
	body     int  // its first word or sign, if there is one
	end      int  // before its own
	line     int  // of start
	begun    bool // there is a word or sign in it
	verb     string
	comments []comment
}

// A comment is one in SQL: the text behind "--", or between "/*" and "*/".
type comment struct {
	text   string
	line   int
	first  bool // it begins its line, or the statement
	block  bool
	inside bool // behind the first word of the statement
}

// A scanner cuts a file as PostgreSQL's lexer does, as far as that matters for finding
// comments and semicolons.
type scanner struct {
	source string
	at     int
	line   int
	begin  int // of the line

	depth     int    // of parentheses
	previous  string // word or sign
	statement statement
	with      int // depth of the WITH before the verb; -1: none
	done      []statement
}

// scan returns the statements of a file. The last one is what stands behind the last
// semicolon.
func scan(source string) []statement {
	s := &scanner{source: source, line: 1, with: -1, statement: statement{line: 1}}
	for s.at < len(s.source) {
		at, begun := s.at, s.statement.begun
		s.next()
		if !begun && s.statement.begun {
			s.statement.body = at
		}
	}
	s.statement.end = s.at
	return append(s.done, s.statement)
}

// next takes one token.
func (s *scanner) next() {
	rest := s.source[s.at:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "--"):
		end := strings.IndexAny(rest, "\r\n")
		if end < 0 {
			end = len(rest)
		}
		s.comment(rest[2:end], false)
		s.take(end)
	case strings.HasPrefix(rest, "/*"):
		end := blockEnd(rest)
		s.comment(strings.TrimSuffix(rest[2:end], "*/"), true)
		s.take(end)
	case c == ';' && s.depth == 0:
		s.statement.end = s.at
		s.take(1)
		s.done = append(s.done, s.statement)
		s.statement, s.with, s.previous = statement{line: s.line, start: s.at}, -1, ""
	case c == '\'':
		backslash := strings.EqualFold(s.previous, "e") && strings.EqualFold(s.source[s.at-1:s.at], "e")
		s.take(quoted(rest, '\'', backslash))
		s.sign("'")
	case c == '"':
		s.take(quoted(rest, '"', false))
		s.word("\"")
	case c == '$':
		if end := dollarEnd(rest); end > 0 {
			s.take(end)
			s.sign("'")
			return
		}
		s.take(1)
		s.sign("$")
	case begins(c):
		end := 1
		for end < len(rest) && continues(rest[end]) {
			end++
		}
		s.take(end)
		s.word(rest[:end])
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		s.take(1)
	default:
		if c == '(' {
			s.depth++
		}
		if c == ')' && s.depth > 0 {
			s.depth--
		}
		s.take(1)
		s.sign(rest[:1])
	}
}

// take goes on by n bytes.
func (s *scanner) take(n int) {
	for _, c := range []byte(s.source[s.at : s.at+n]) {
		s.at++
		if c == '\n' {
			s.line++
			s.begin = s.at
		}
	}
}

func (s *scanner) comment(text string, block bool) {
	s.statement.comments = append(s.statement.comments, comment{
		text: text, line: s.line, first: s.at == s.begin || s.at == s.statement.start, block: block, inside: s.statement.begun,
	})
}

func (s *scanner) sign(sign string) {
	s.statement.begun = true
	s.previous = sign
}

// verbs are the words that a statement behind a WITH may begin with.
var verbs = map[string]bool{
	"SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "MERGE": true, "VALUES": true, "TABLE": true,
}

// word looks for the verb of the statement: its first word, except that WITH and the
// queries in it come before.
func (s *scanner) word(word string) {
	upper := strings.ToUpper(word)
	first := s.statement.verb == ""
	switch {
	case !first:
	case s.with >= 0:
		named := s.previous == "WITH" || s.previous == "RECURSIVE" || s.previous == "," // a query of any name
		if s.depth == s.with && !named && verbs[upper] {
			s.statement.verb = upper
		}
	case upper == "WITH":
		s.with = s.depth
	default:
		s.statement.verb = upper
	}
	s.statement.begun = true
	s.previous = word
	if first && s.with >= 0 {
		s.previous = upper
	}
}

func begins(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func continues(c byte) bool { return begins(c) || '0' <= c && c <= '9' || c == '$' }

// blockEnd is the length of the comment that rest begins with. Such comments nest.
func blockEnd(rest string) int {
	depth := 0
	for i := 0; i+1 < len(rest); i++ {
		switch rest[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(rest)
}

// quoted is the length of the string or name that rest begins with. A doubled quote ends it
// and begins another.
func quoted(rest string, quote byte, backslash bool) int {
	for i := 1; i < len(rest); i++ {
		switch {
		case backslash && rest[i] == '\\':
			i++
		case rest[i] == quote:
			if next := continued(rest[i+1:]); backslash && next > 0 {
				i += next
				continue
			}
			return i + 1
		}
	}
	return len(rest)
}

// continued is the length of what stands between two parts of a string, a line break and
// blanks, with the quote behind; 0 if the string ends. Only where a backslash means something
// does it matter that the second part is one.
func continued(rest string) int {
	blanks := len(rest) - len(strings.TrimLeft(rest, " \t\r\n\f\v"))
	if blanks < len(rest) && rest[blanks] == '\'' && strings.ContainsAny(rest[:blanks], "\r\n") {
		return blanks + 1
	}
	return 0
}

// dollarEnd is the length of the string in dollars that rest begins with, or 0.
func dollarEnd(rest string) int {
	end := 1
	for end < len(rest) && rest[end] != '$' && continues(rest[end]) {
		end++
	}
	if end == len(rest) || rest[end] != '$' || '0' <= rest[1] && rest[1] <= '9' {
		return 0
	}
	tag := rest[:end+1]
	if closing := strings.Index(rest[len(tag):], tag); closing >= 0 {
		return len(tag) + closing + len(tag)
	}
	return len(rest)
}

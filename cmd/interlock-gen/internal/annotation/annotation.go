package annotation

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Query is a query of a file of sqlc's, and what the comment above it asks for.
type Query struct {
	Name, Cmd string // "LockUser", ":one"
	File      string
	Line      int    // of its name
	Verb      string // of its statement: "UPDATE", also behind a WITH
	Source    string // the statement as it stands in the file, with sqlc's functions

	// Optimistic is the version column that an UPDATE tests and increments, and a DELETE
	// tests; "" where the update is not optimistic.
	Optimistic string

	// AffectsOne demands that the statement changes exactly one row.
	AffectsOne bool

	// Reads declares that the functions that the query calls only read.
	Reads bool

	Allows []Allow
}

// An Allow silences one check for the query.
type Allow struct {
	Check, Reason string
	Line          int
}

// Position is where the query's name is: "queries/user.sql:7".
func (q *Query) Position() string { return fmt.Sprintf("%s:%d", q.File, q.Line) }

// An Error is returned when an annotation would not do what it seems to do.
type Error struct {
	File   string
	Line   int
	Query  string // that it stands at or was meant for, if there is one
	Reason string // and the remedy
}

func (e *Error) Error() string {
	if e.Query == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Query, e.Reason)
}

// names are the annotations that there are.
var names = []string{"@optimistic", "@affects", "@reads", "@allow"}

// foreign are those of sqlc's own.
var foreign = []string{"@param", "@sqlc-vet-disable"}

// Is reports whether the text of a comment is an annotation: for those who show the comment
// to people.
func Is(comment string) bool {
	word, _ := cut(comment)
	return slices.Contains(names, word)
}

// Parse reads the queries of a file with their annotations. The error joins an *Error for
// each annotation that is wrong.
func Parse(file, source string) ([]*Query, error) {
	p := &parser{file: file}
	var before *Query
	for i, s := range scan(source) {
		q := p.query(s, source)
		var asked []comment
		for _, c := range s.comments {
			word, _ := cut(c.text)
			if c.text == "" || !p.annotates(c, word) || describes(word, source[s.body:s.end]) {
				continue
			}
			if i > 0 && c.line == s.line && !c.inside {
				p.behind(c, before, q)
			} else if p.placed(c, q, s) {
				asked = append(asked, c)
			}
		}
		if q != nil {
			for _, c := range asked {
				p.apply(c, q)
			}
			p.queries = append(p.queries, q)
		}
		before = q
	}
	return p.queries, errors.Join(p.errs...)
}

type parser struct {
	file    string
	queries []*Query
	errs    []error
}

func (p *parser) wrong(line int, q *Query, format string, args ...any) {
	e := &Error{File: p.file, Line: line, Reason: fmt.Sprintf(format, args...)}
	if q != nil {
		e.Query = q.Name
	}
	p.errs = append(p.errs, e)
}

// query is the query that a statement is, or nil if sqlc passes over it.
func (p *parser) query(s statement, source string) *Query {
	for _, c := range s.comments {
		if !isName(c) {
			continue
		}
		q := &Query{File: p.file, Line: c.line, Verb: s.verb, Source: source[s.start:s.end]}
		if words := strings.Fields(c.text); len(words) > 2 {
			q.Name, q.Cmd = words[1], words[2]
		} else if len(words) > 1 {
			q.Name = words[1]
		}
		return q
	}
	return nil
}

func isName(c comment) bool { return c.first && strings.HasPrefix(c.text, " name: ") }

// cut splits the text of a comment into its first word, if that looks like an annotation,
// and the rest.
func cut(text string) (word, rest string) {
	text = strings.TrimSpace(text)
	if len(text) < 2 || text[0] != '@' || !begins(text[1]) {
		return "", ""
	}
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		return text, ""
	}
	return text[:end], strings.TrimSpace(text[end:])
}

// annotates reports whether a comment is an annotation, or has one in it, or what must be
// one. Inside of a statement a comment may also be SQL that was put out of use, with
// sqlc's @parameters.
func (p *parser) annotates(c comment, word string) bool {
	switch {
	case c.block && strings.Contains(c.text, "\n"):
		for line := range strings.Lines(c.text) {
			if w, _ := cut(strings.TrimLeft(line, " \t*")); slices.Contains(names, w) {
				return true
			}
		}
		return false
	case word == "" || slices.Contains(foreign, word):
		return false
	case c.inside:
		return slices.Contains(names, word)
	}
	return true
}

// describes reports whether the first word of a comment is about a parameter of the statement:
// "@owner: whose rows", or "@owner's rows".
func describes(word, statement string) bool {
	end := 1
	for end < len(word) && continues(word[end]) {
		end++
	}
	if end == 1 || slices.Contains(names, word[:end]) {
		return false
	}
	name := regexp.QuoteMeta(word[1:end])
	found, err := regexp.MatchString(`@`+name+`\b|\bsqlc\s*\.\s*(arg|narg|slice)\s*\(\s*['"]?`+name+`\b`, statement)
	return found && err == nil
}

// behind complains about an annotation on the line on which the query before ends.
func (p *parser) behind(c comment, before, next *Query) {
	word, _ := cut(c.text)
	taken := "where it belongs to no query"
	if next != nil {
		taken = "where sqlc takes it for the next query's, " + next.Name
	}
	p.wrong(c.line, before, "%s stands behind the semicolon, %s: move it above the statement it is for", word, taken)
}

// placed complains about an annotation that is not in the comment above a query.
func (p *parser) placed(c comment, q *Query, s statement) bool {
	word, _ := cut(c.text)
	switch {
	case c.block && strings.Contains(c.text, "\n"):
		p.wrong(c.line, q, "an annotation stands in a comment of several lines, where it has no effect: give it a line of its own, beginning with --")
	case q == nil && s.verb == "":
		p.wrong(c.line, q, "%s is followed by no statement, so it belongs to no query: move it above the statement it is for, or remove it", word)
	case q == nil:
		p.wrong(c.line, q, "%s is for a statement without a line such as -- name: GetUser :one, which sqlc passes over: name it", word)
	case c.inside:
		p.wrong(c.line, q, "%s stands inside the statement: move it above, to a line of its own", word)
	case !c.first:
		p.wrong(c.line, q, "%s does not begin its line, so sqlc does not take it for the query's comment: remove what is before it, blanks too", word)
	case !adjoins(c, q, s):
		p.wrong(c.line, q, "%s is apart from the query that it belongs to: move it below the line with the query's name", word)
	default:
		return true
	}
	return false
}

// adjoins reports whether an annotation above the name of its query has nothing but comments
// between.
func adjoins(c comment, q *Query, s statement) bool {
	for line := c.line + 1; line < q.Line; line++ {
		if !slices.ContainsFunc(s.comments, func(c comment) bool { return c.line == line }) {
			return false
		}
	}
	return true
}

// apply adds what an annotation says to its query.
func (p *parser) apply(c comment, q *Query) {
	word, rest := cut(c.text)
	args := strings.Fields(rest)
	switch word {
	case "@optimistic":
		p.optimistic(c, q, args)
	case "@affects":
		p.affects(c, q, args)
	case "@reads":
		p.reads(c, q, args)
	case "@allow":
		p.allow(c, q, rest)
	default:
		if meant := Closest(strings.ToLower(word), names); meant != "" {
			p.wrong(c.line, q, "%s is no annotation: %s was meant", word, meant)
			return
		}
		p.wrong(c.line, q, "%s is no annotation: there are %s, and %s of sqlc's; put a word before it if it is prose",
			word, strings.Join(names, ", "), strings.Join(foreign, " and "))
	}
}

// countable are the commands whose methods can say how many rows there were.
var countable = []string{":exec", ":execrows", ":one"}

func (p *parser) optimistic(c comment, q *Query, args []string) {
	switch {
	case len(args) == 0:
		p.wrong(c.line, q, "@optimistic needs the name of the version column: @optimistic version")
	case len(args) > 1:
		p.wrong(c.line, q, "@optimistic takes one column, and here are %d words: @optimistic %s", len(args), args[0])
	case q.Verb != "UPDATE" && q.Verb != "DELETE":
		p.wrong(c.line, q, "@optimistic is for an UPDATE or DELETE that tests a version, and this is %s: remove it", article(q.Verb))
	case !slices.Contains(countable, q.Cmd):
		p.wrong(c.line, q, "@optimistic needs to know whether a row was changed, and %s does not tell: use :exec, :execrows or :one", q.Cmd)
	case q.Optimistic != "":
		p.wrong(c.line, q, "@optimistic stands here twice: leave one of them")
	case q.AffectsOne:
		p.both(c, q)
	default:
		q.Optimistic = args[0]
	}
}

func (p *parser) affects(c comment, q *Query, args []string) {
	switch {
	case !slices.Equal(args, []string{"one"}):
		p.wrong(c.line, q, "@affects needs the number of rows, and one is the only one there is: @affects one")
	case !slices.Contains([]string{"INSERT", "UPDATE", "DELETE", "MERGE"}, q.Verb):
		p.wrong(c.line, q, "@affects is for a statement that changes rows, and this is %s: remove it", article(q.Verb))
	case !slices.Contains(countable, q.Cmd):
		p.wrong(c.line, q, "@affects needs to know how many rows were changed, and %s does not tell: use :exec, :execrows or :one", q.Cmd)
	case q.AffectsOne:
		p.wrong(c.line, q, "@affects stands here twice: leave one of them")
	case q.Optimistic != "":
		p.both(c, q)
	default:
		q.AffectsOne = true
	}
}

func (p *parser) both(c comment, q *Query) {
	p.wrong(c.line, q, "@optimistic demands one row already: remove @affects one")
}

func (p *parser) reads(c comment, q *Query, args []string) {
	switch {
	case len(args) > 0:
		p.wrong(c.line, q, "@reads takes no argument, and here is %q: remove that", strings.Join(args, " "))
	case q.Verb != "SELECT" && q.Verb != "VALUES":
		p.wrong(c.line, q, "@reads is for a SELECT whose functions only read, and this is %s: remove it", article(q.Verb))
	case q.Reads:
		p.wrong(c.line, q, "@reads stands here twice: leave one of them")
	default:
		q.Reads = true
	}
}

func (p *parser) allow(c comment, q *Query, rest string) {
	check, reason, _ := strings.Cut(rest, " ")
	reason = strings.TrimSpace(reason)
	switch {
	case check == "":
		p.wrong(c.line, q, "@allow needs the name of a check and a reason: @allow lock-order each caller locks one row")
	case reason == "":
		p.wrong(c.line, q, "@allow %s needs a reason: say behind it why the check is wrong here", check)
	case slices.ContainsFunc(q.Allows, func(a Allow) bool { return a.Check == check }):
		p.wrong(c.line, q, "@allow %s stands here twice: leave one of them", check)
	default:
		q.Allows = append(q.Allows, Allow{Check: check, Reason: reason, Line: c.line})
	}
}

// article puts one before the verb of a statement.
func article(verb string) string {
	if verb == "" {
		return "no statement"
	}
	if strings.Contains("AEIOU", verb[:1]) {
		return "an " + verb
	}
	return "a " + verb
}

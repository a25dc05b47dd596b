package httpapi_test

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
)

var (
	// exchange is a request of the page and its answer.
	exchange = regexp.MustCompile("(?s)```sh\n(curl [^\n]*)\n```\n\n```text\n(\\d+)\n([^\n]*)\n```")

	// statement is one that somebody else has executed.
	statement = regexp.MustCompile("(?s)```sql\n(.*?)```")

	// word is one of a command, with or without quotes.
	word = regexp.MustCompile(`'[^']*'|[^ ']+`)

	// Ids of requests and times are others each time.
	varies = regexp.MustCompile(`("at":")[^"]*(")|(#)[A-Z2-7]{26}(")`)
)

// What docs/http.md says happens.
func TestPage(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "http.md"))
	require.NoError(t, err)
	page := string(text)

	for _, sql := range statement.FindAllStringSubmatch(page, -1) {
		_, err := s.admin.Exec(t.Context(), sql[1])
		require.NoError(t, err, sql[1])
	}
	exchanges := exchange.FindAllStringSubmatch(page, -1)
	require.NotEmpty(t, exchanges)
	require.Len(t, exchanges, strings.Count(page, "\ncurl "), "each curl has its answer")
	for _, e := range exchanges {
		method, path, body, headers := curl(t, e[1])
		a, err := s.do(t.Context(), method, path, body, headers...)
		require.NoError(t, err, e[1])
		require.Equal(t, e[2], fmt.Sprint(a.status), "%s\n%s", e[1], a.text)
		require.Equal(t, e[3], varies.ReplaceAllString(strings.TrimSpace(a.text), "$1$3…$2$4"), e[1])
	}

	for _, route := range s.api.Routes() {
		require.Contains(t, page, "| `"+route+"` |", "the table of routes")
	}
	for _, p := range httpapi.ProblemTypes() {
		require.Contains(t, page, fmt.Sprintf("| `%s` | %d | %s |", p.Name, p.Status, p.Title), "the table of problems")
	}
}

// curl reads a command line of the page.
func curl(t *testing.T, line string) (method, path, body string, headers []string) {
	t.Helper()
	method = http.MethodGet
	given := ""
	words := word.FindAllString(line, -1)
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "-i":
		case "-X":
			i++
			given = words[i]
		case "-H":
			i++
			headers = append(headers, words[i])
		case "-d":
			i++
			method, body = http.MethodPost, words[i]
		default:
			var ok bool
			path, ok = strings.CutPrefix(words[i], "http://127.0.0.1:8080")
			require.True(t, ok, words[i])
		}
	}
	return cmp.Or(given, method), path, body, headers
}

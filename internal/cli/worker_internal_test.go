package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
)

// kind is a job of any kind, without arguments.
type kind string

func (k kind) Kind() string { return string(k) }

var kindMethod = regexp.MustCompile(`\) Kind\(\) string \{ return "(.+)" \}`)

// A service that adds a kind of job has its worker here, too.
func TestEveryKindHasAWorker(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	files, err := filepath.Glob(filepath.Join("..", "..", "service", "*", "*.go"))
	require.NoError(t, err)
	for _, f := range files {
		if matched, _ := filepath.Match("*_test.go", filepath.Base(f)); matched {
			continue
		}
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, found := range kindMethod.FindAllSubmatch(text, -1) {
			kinds[string(found[1])] = true
		}
	}
	require.GreaterOrEqual(t, len(kinds), 7)

	pool := testschema.NewDatabase(t).Pool(t)
	w := &worker{concurrency: 1}
	client, err := river.NewClient(riverpgxv5.New(pool), w.config(nil, receivers{}, slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	for k := range kinds {
		_, err := client.InsertTx(t.Context(), tx, kind(k), nil)
		require.NoError(t, err, "no worker works it")
	}
	_, err = client.InsertTx(t.Context(), tx, kind("no.such"), nil)
	require.ErrorContains(t, err, "no.such", "River looks")
}

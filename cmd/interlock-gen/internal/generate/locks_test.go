package generate_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/generate"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/locks"
)

// TestLocks compares what is said about the queries of testdata/locks with locks.md and
// locks.mmd there.
func TestLocks(t *testing.T) {
	t.Parallel()
	const folder = "testdata/locks"
	dir, opts := setup(t, folder)
	before := tree(t, dir)
	packages, err := generate.Locks(t.Context(), opts)
	require.NoError(t, err)
	require.Equal(t, before, tree(t, dir), "files were written")
	for name, made := range map[string]string{
		"locks.md":  locks.Markdown(packages),
		"locks.mmd": locks.Mermaid(packages),
	} {
		if *update {
			put(t, folder, name, made)
		}
		want, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		require.Equal(t, string(want), made)
	}
}

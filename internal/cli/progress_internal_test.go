package cli

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	lines := []string{"one of three", "two"}
	p := &progress{w: &out, live: true, line: func(time.Duration) string {
		line := lines[0]
		lines = lines[1:]
		return line
	}}
	p.show()
	p.show()
	require.Equal(t, "\rone of three\x1b[K\rtwo\x1b[K", out.String(), "on one line of the terminal")

	out.Reset()
	startProgress(&out, func(time.Duration) string { return "done" }).stop()
	require.Equal(t, "done\n", out.String(), "the last line is shown in any case")
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	require.False(t, isTerminal(&bytes.Buffer{}))
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.False(t, isTerminal(w))
	file, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	defer file.Close()
	require.False(t, isTerminal(file))
}

// A line that wraps would not be overwritten by the next one.
func TestLineFitsATerminal(t *testing.T) {
	t.Parallel()
	l := newLoad(&demo{requests: 1_000_000, faults: true}, &stage{}, scenes)
	l.done.Store(1_000_000)
	l.toll.retried.Store(9999)
	l.toll.outages.over.Store(9)
	l.kills.ended.Store(999)
	l.cuts.ended.Store(999)
	require.LessOrEqual(t, len(l.line(500*time.Second)), 79)
}

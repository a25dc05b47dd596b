package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// toy is a module for changes of every fate.
var toy = map[string]string{
	"go.mod": "module toy\n\ngo 1.26\n",
	"toy.go": `package toy

func Double(n int) int {
	if n == 0 {
		return 0
	}
	return n * 2
}
`,
	"toy_test.go": `package toy

import "testing"

func TestDouble(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "two": 2} {
		t.Run(name, func(t *testing.T) {
			if Double(n) != n+n {
				t.Fail()
			}
		})
	}
}

func TestNothing(t *testing.T) { Double(1) }

func TestElsewhere(t *testing.T) {
	done := make(chan struct{})
	go func() {
		if Double(1) != 2 {
			panic("not two")
		}
		close(done)
	}()
	<-done
}
`,
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	r, out := onToy(t)
	change := func(rule, after, test string) mutant {
		return mutant{rule: rule, file: "toy.go", before: "return n * 2", after: after, test: test}
	}
	gone := change("is gone", "return 1", "TestDouble")
	gone.before = "return n * 4"
	twice := change("is there twice", "nothing", "TestDouble")
	twice.before = "return"
	same := change("is none", "return n * 2", "TestDouble")
	ok, err := r.run(t.Context(), []mutant{
		change("one subtest fails", "return 2", "TestDouble"),
		change("the subtest named fails", "return 2", "TestDouble/two"),
		change("another subtest fails", "return 2", "TestDouble/one"),
		change("nobody notices", "return 3", "TestNothing"),
		change("a goroutine panics", "return 3", "TestElsewhere"),
		change("does not compile", "return", "TestDouble"),
		gone, twice, same,
	})
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, map[string]string{
		"one subtest fails (TestDouble/two)":                    "killed",
		"the subtest named fails (TestDouble/two)":              "killed",
		"another subtest fails (TestDouble/one passes)":         "SURVIVED",
		"nobody notices (TestNothing passes)":                   "SURVIVED",
		"a goroutine panics (panic)":                            "killed",
		"is gone (toy.go has 0 times, not once: return n * 4)":  "FAULTY",
		"is there twice (toy.go has 2 times, not once: return)": "FAULTY",
		"is none (not one line is changed: return n * 2)":       "FAULTY",
		"does not compile (does not compile: # toy [toy.test]":  "FAULTY",
	}, fates(out.String()))
	require.Contains(t, out.String(), "9 changes: 3 killed, 2 survived, 4 faulty")
}

// fates are the verdicts in the output, by rule and reason.
func fates(output string) map[string]string {
	found := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^(\S+) +[0-9.]+s  toy\.go: (.*)$`).FindAllStringSubmatch(output, -1) {
		found[line[2]] = line[1]
	}
	return found
}

// A test that does not end has noticed nothing, unless that is what the table expects.
func TestEndless(t *testing.T) {
	t.Parallel()
	r, out := onToy(t)
	r.limit = 10 * time.Second
	endless := mutant{rule: "is endless", file: "toy.go", before: "return n * 2", after: "for { n += 0 }", test: "TestDouble"}
	expected := endless
	expected.rule, expected.hangs = "is known to be endless", true
	ok, err := r.run(t.Context(), []mutant{endless, expected})
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, map[string]string{
		"is endless (TestDouble does not end)":             "FAULTY",
		"is known to be endless (TestDouble does not end)": "killed",
	}, fates(out.String()))
}

// All is well if each change is noticed.
func TestAllKilled(t *testing.T) {
	t.Parallel()
	r, out := onToy(t)
	ok, err := r.run(t.Context(), []mutant{
		{rule: "doubles", file: "toy.go", before: "n * 2", after: "n * 3", test: "TestDouble"},
		{rule: "doubles nothing", file: "toy.go", before: "n * 2", after: "n * 0", test: "TestDouble/one"},
	})
	require.NoError(t, err)
	require.True(t, ok, out.String())
	text, err := os.ReadFile(filepath.Join(r.root, "toy.go"))
	require.NoError(t, err)
	require.Equal(t, toy["toy.go"], string(text), "only copies are changed")
}

// A test that fails before anything was changed proves nothing, and neither does one that is
// not there.
func TestUnchangedTestsMustPass(t *testing.T) {
	t.Parallel()
	r, _ := onToy(t)
	for _, test := range []string{"TestGone", "TestDouble/three"} {
		_, err := r.run(t.Context(), []mutant{{rule: "x", file: "toy.go", before: "n * 2", after: "n * 3", test: test}})
		require.ErrorContains(t, err, test+" does not pass on the unchanged code")
	}
	require.NoError(t, os.WriteFile(filepath.Join(r.root, "toy.go"), []byte("package toy\n\nfunc Double(n int) int { return n }\n"), 0o644))
	_, err := r.run(t.Context(), []mutant{{rule: "x", file: "toy.go", before: "return n", after: "return 2", test: "TestDouble"}})
	require.ErrorContains(t, err, "TestDouble does not pass on the unchanged code")
}

func onToy(t *testing.T) (*runner, *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	for name, text := range toy {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	said, err := exec.CommandContext(t.Context(), "git", "init", "--quiet", root).CombinedOutput()
	require.NoError(t, err, "%s", said)
	out := &bytes.Buffer{}
	return &runner{root: root, env: os.Environ(), limit: time.Minute, workers: 2, out: out}, out
}

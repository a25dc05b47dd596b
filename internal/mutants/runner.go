package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// A runner judges mutants on copies of the tree.
type runner struct {
	root    string
	env     []string      // of the tests
	limit   time.Duration // for a test
	workers int
	output  bool // print what failing tests say
	out     io.Writer
}

// A verdict is what became of a mutant.
type verdict string

const (
	killed   verdict = "killed"
	survived verdict = "SURVIVED" // its test passed
	faulty   verdict = "FAULTY"   // nobody knows: it did not compile, or no test was run
)

// run judges the mutants, and reports whether all were killed.
func (r *runner) run(ctx context.Context, mutants []mutant) (ok bool, err error) {
	start := time.Now()
	// By package, so that what the go command has compiled is of use to the next one.
	slices.SortStableFunc(mutants, func(a, b mutant) int { return cmp.Compare(a.folder(), b.folder()) })
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	trees := make([]string, min(r.workers, len(mutants)))
	for i := range trees {
		trees[i] = filepath.Join(dir, fmt.Sprint("tree", i+1))
		if err := r.copy(ctx, trees[i]); err != nil {
			return false, err
		}
	}
	if err := r.unchanged(ctx, trees, mutants); err != nil {
		return false, err
	}
	fmt.Fprintf(r.out, "the tests named pass on the unchanged code, after %s\n", time.Since(start).Round(time.Second))

	count := map[verdict]int{}
	var mu sync.Mutex
	share(trees, mutants, func(tree string, m mutant) {
		since := time.Now()
		v, by, said := r.judge(ctx, tree, m)
		mu.Lock()
		defer mu.Unlock()
		count[v]++
		if r.output {
			fmt.Fprint(r.out, said)
		}
		fmt.Fprintf(r.out, "%-8s %5.1fs  %s: %s (%s)\n", v, time.Since(since).Seconds(), m.file, m.rule, by)
	})
	fmt.Fprintf(r.out, "%d changes: %d killed, %d survived, %d faulty, in %s\n", len(mutants),
		count[killed], count[survived], count[faulty], time.Since(start).Round(time.Second))
	return count[killed] == len(mutants), ctx.Err()
}

// share has each tree work on the next item until none is left.
func share[T any](trees []string, items []T, work func(tree string, item T)) {
	next := make(chan T)
	var all sync.WaitGroup
	for _, tree := range trees {
		all.Go(func() {
			for item := range next {
				work(tree, item)
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	all.Wait()
}

// copy copies the files that git has or would take.
func (r *runner) copy(ctx context.Context, to string) error {
	c := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	c.Dir = r.root
	list, err := c.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(list), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(r.root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and still in git's index
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// unchanged runs all tests that are named, before anything is changed.
func (r *runner) unchanged(ctx context.Context, trees []string, mutants []mutant) error {
	tests := map[string][]string{} // by folder
	for _, m := range mutants {
		if !slices.Contains(tests[m.folder()], m.test) {
			tests[m.folder()] = append(tests[m.folder()], m.test)
		}
	}
	for folder, names := range tests {
		program, fault, err := r.build(ctx, trees[0], folder)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", folder, err, fault)
		}
		var mu sync.Mutex
		share(trees, names, func(tree, name string) {
			said, passed, ran := r.test(ctx, tree, folder, program, name)
			if passed && ran {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, fmt.Errorf("%s: %s does not pass on the unchanged code (or no test has this name)\n%s", folder, name, said))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// judge applies the mutant to the tree, runs its test, and takes the change back. by says
// which test failed, or what is wrong; said is what the test printed.
func (r *runner) judge(ctx context.Context, tree string, m mutant) (v verdict, by, said string) {
	restore, err := m.apply(tree)
	if err != nil {
		return faulty, err.Error(), ""
	}
	defer func() {
		if err := restore(); err != nil {
			v, by = faulty, err.Error()
		}
	}()
	program, fault, err := r.build(ctx, tree, m.folder())
	if err != nil {
		return faulty, "does not compile: " + fault, ""
	}
	defer os.Remove(program)
	since := time.Now()
	said, passed, ran := r.test(ctx, tree, m.folder(), program, m.test)
	hung := time.Since(since) >= r.limit
	switch {
	case ctx.Err() != nil:
		return faulty, "interrupted", said
	case passed && ran:
		return survived, m.test + " passes", said
	case hung && m.hangs:
		return killed, m.test + " does not end", said
	case hung:
		return faulty, m.test + " does not end", said
	case !ran:
		return faulty, "no test was run", said
	}
	if by = failure(said); by == "" {
		return faulty, "no test has failed, though the program did", said
	}
	return killed, by, said
}

// build compiles the tests of a package. fault is what the compiler says.
func (r *runner) build(ctx context.Context, tree, folder string) (program, fault string, err error) {
	program = filepath.Join(tree, ".mutant.test")
	// Without optimization and debugging information the compiler and the linker are quicker.
	c := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-gcflags=-N -l", "-ldflags=-w", "-o", program, ".")
	c.Dir = filepath.Join(tree, folder)
	said, err := c.CombinedOutput()
	return program, string(bytes.TrimSpace(said)), err
}

// test runs a test, and reports whether all passed and whether there was one.
func (r *runner) test(ctx context.Context, tree, folder, program, name string) (said string, passed, ran bool) {
	ctx, cancel := context.WithTimeout(ctx, r.limit+30*time.Second) // the program's own limit comes first
	defer cancel()
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = "^" + parts[i] + "$"
	}
	c := exec.CommandContext(ctx, program, "-test.v", "-test.timeout", r.limit.String(), "-test.run", strings.Join(parts, "/"))
	c.Dir = filepath.Join(tree, folder)
	c.Env = r.env
	text, err := c.CombinedOutput()
	return string(text), err == nil, started(string(text), name)
}

var begun = regexp.MustCompile(`(?m)^=== RUN +(\S+)`)

// started reports whether a test of this name was begun; of one with subtests, whether one of
// these was.
func started(said, name string) bool {
	return slices.ContainsFunc(begun.FindAllStringSubmatch(said, -1), func(found []string) bool {
		test, _, _ := strings.Cut(name, "/")
		return found[1] == test && test == name || strings.HasPrefix(found[1], test+"/")
	})
}

var (
	failed    = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	panicking = regexp.MustCompile(`(?m)^(panic|fatal error): `)
)

// failure names the test that failed: the first subtest, if one did.
func failure(said string) string {
	name := ""
	for _, found := range failed.FindAllStringSubmatch(said, -1) {
		if name == "" || path.Dir(name) == "." && strings.HasPrefix(found[1], name+"/") {
			name = found[1]
		}
	}
	if name == "" && panicking.MatchString(said) {
		return "panic"
	}
	return name
}

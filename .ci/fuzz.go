// Fuzz runs the fuzz targets of module txn, each for its part of the time that its argument
// gives to all, on one PostgreSQL server. It ends with the first input that breaks something,
// which is kept in the package's testdata/fuzz, and fails too if a target tried nothing.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

func main() {
	log.SetFlags(0)
	all, err := time.ParseDuration(os.Args[1])
	if err == nil {
		err = fuzz(all)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// A target is a fuzz function in the test binary of its package.
type target struct{ binary, dir, cache, name string }

func fuzz(all time.Duration) error {
	tmp, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	targets, err := build(tmp)
	if err != nil {
		return err
	}
	// Targets have worker processes, each of which would start a server of its own.
	server, err := pgserver.Start(context.Background(), pgserver.Config{NoSync: true, Settings: map[string]string{"max_prepared_transactions": "100"}})
	if err != nil {
		return err
	}
	defer server.Stop()
	if err := os.Setenv("INTERLOCK_TEST_DATABASE_URL", server.AdminURL("postgres")); err != nil {
		return err
	}
	each := all / time.Duration(len(targets))
	for _, t := range targets {
		if err := t.run(each); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// build finds the targets and builds the packages that have some, once for all of each: the
// go command would do so again for every target.
func build(tmp string) (targets []target, err error) {
	cache, err := goCommand("env", "GOCACHE")
	if err != nil {
		return nil, err
	}
	packages, err := goCommand("list", "-f", "{{.ImportPath}} {{.Dir}}", "./...")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(packages) {
		pkg, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		names, err := functions(dir)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			continue
		}
		binary := filepath.Join(tmp, strings.ReplaceAll(pkg, "/", "_"))
		if _, err := goCommand("test", "-c", "-fuzz", ".", "-o", binary, pkg); err != nil {
			return nil, err
		}
		for _, name := range names {
			targets = append(targets, target{binary, dir, filepath.Join(strings.TrimSpace(cache), "fuzz", pkg), name})
		}
	}
	if len(targets) == 0 {
		return nil, errors.New("there are no fuzz targets")
	}
	return targets, nil
}

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// functions are the fuzz functions in the test files of a folder.
func functions(dir string) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, found := range declaration.FindAllSubmatch(text, -1) {
			names = append(names, string(found[1]))
		}
	}
	return names, nil
}

var (
	tried = regexp.MustCompile(`execs: [1-9]`)

	// Package testing takes the end of the time for a failure of the target's now and then.
	// A real one names an input.
	outOfTime = regexp.MustCompile(`(?m)^ +context deadline exceeded$`)
	failing   = regexp.MustCompile(`(?m)Failing input written|^ +--- FAIL: `)
)

// run fuzzes for d, or longer, where a busy machine did not get past what is known in d.
func (t target) run(d time.Duration) error {
	for most := 16 * d; d <= most; d *= 2 {
		fmt.Println(t.name, d)
		var said bytes.Buffer
		cmd := exec.Command(t.binary, "-test.run", "^$", "-test.fuzz", "^"+t.name+"$", "-test.fuzztime", d.String(), "-test.fuzzcachedir", t.cache)
		cmd.Dir, cmd.Stdout = t.dir, io.MultiWriter(os.Stdout, &said)
		cmd.Stderr = cmd.Stdout
		if err := cmd.Run(); err != nil && (!outOfTime.Match(said.Bytes()) || failing.Match(said.Bytes())) {
			return err
		}
		if tried.Match(said.Bytes()) {
			return nil
		}
	}
	return errors.New("there was not enough time to try anything")
}

// goCommand runs the go command in module txn and returns what it prints.
func goCommand(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "txn", &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, out.String())
	}
	return out.String(), nil
}

package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A mutant is a change of one line that breaks a rule, and the test that must notice.
type mutant struct {
	rule   string // what no longer holds
	file   string // from the root
	before string // occurs once in the file
	after  string
	test   string // its name, perhaps with that of subtests after slashes
	pkg    string // folder of the test, if it is not the file's
	hangs  bool   // the test notices by not ending
}

// folder is that of the test's package.
func (m mutant) folder() string {
	if m.pkg != "" {
		return m.pkg
	}
	return path.Dir(m.file)
}

// function is the name of the test's function.
func (m mutant) function() string {
	name, _, _ := strings.Cut(m.test, "/")
	return name
}

// applied returns the file's text with the change.
func (m mutant) applied(text string) (string, error) {
	if n := strings.Count(text, m.before); n != 1 {
		return "", fmt.Errorf("%s has %d times, not once: %s", m.file, n, m.before)
	}
	before, after := strings.Split(m.before, "\n"), strings.Split(m.after, "\n")
	changed := 0
	for i := range before {
		if len(before) == len(after) && before[i] != after[i] {
			changed++
		}
	}
	if changed != 1 {
		return "", fmt.Errorf("not one line is changed: %s", m.before)
	}
	return strings.Replace(text, m.before, m.after, 1), nil
}

// apply changes the file below root, and returns what takes the change back.
func (m mutant) apply(root string) (restore func() error, err error) {
	name := filepath.Join(root, filepath.FromSlash(m.file))
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	changed, err := m.applied(string(text))
	if err != nil {
		return nil, err
	}
	return func() error { return os.WriteFile(name, text, 0o666) }, os.WriteFile(name, []byte(changed), 0o666)
}

package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// BaselineName is the name of the file of known warnings, in the folder of sqlc's
// configuration.
const BaselineName = "interlock.baseline"

// A Baseline is the warnings that a project had when it began to use the checks.
type Baseline map[string]bool

// entry is a line of the file: the query, the check, and the table. What may change without
// the query, such as the line where it stands, is not in it.
func (f Finding) entry() string {
	return strings.TrimSpace(f.Package + "." + f.Query + " " + f.Check + " " + f.Table)
}

// LoadBaseline reads the file in a folder. There is none, and it is nil, in most projects.
func LoadBaseline(dir string) (Baseline, error) {
	source, err := os.ReadFile(filepath.Join(dir, BaselineName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	b := Baseline{}
	number := 0
	for line := range strings.Lines(string(source)) {
		number++
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if line == "" {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 || len(words) > 3 || find(words[1]) == nil {
			return nil, fmt.Errorf("%s:%d: %q is no warning, such as db.LockUsers lock-order users: interlock-gen baseline writes the file", BaselineName, number, line)
		}
		b[strings.Join(words, " ")] = true
	}
	return b, nil
}

// Split tells the warnings that are not in the baseline, and the lines of the baseline that
// no warning needs.
func (b Baseline) Split(warnings []Finding) (fresh []Finding, stale []string) {
	needed := map[string]bool{}
	for _, f := range warnings {
		needed[f.entry()] = true
		if !b[f.entry()] {
			fresh = append(fresh, f)
		}
	}
	for entry := range b {
		if !needed[entry] {
			stale = append(stale, entry)
		}
	}
	slices.Sort(stale)
	return fresh, stale
}

// FormatBaseline is the file for the warnings.
func FormatBaseline(warnings []Finding) []byte {
	var entries []string
	for _, f := range warnings {
		entries = append(entries, f.entry())
	}
	slices.Sort(entries)
	entries = slices.Compact(entries)
	return []byte(`# Warnings that are known. Those that are not here fail.
# Written by interlock-gen baseline; remove a line when its warning is gone.
` + strings.Join(append(entries, ""), "\n"))
}

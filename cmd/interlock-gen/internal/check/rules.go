package check

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// A Level says what becomes of a finding.
type Level string

const (
	Off   Level = "off"
	Warn  Level = "warn"
	Error Level = "error"
)

// Rules are the levels of the checks. They are configured in sqlc.yaml, as options.interlock:
// there sqlc keeps settings of plugins, and leaves alone those of a plugin that it does not
// run.
type Rules struct {
	// Warnings is the level of all warnings that Checks does not name: Warn, if it is empty.
	Warnings Level `yaml:"warnings"`

	// Checks has levels by the names of checks. Those that are errors cannot be made less.
	Checks map[string]Level `yaml:"checks"`
}

// ReadRules reads the configuration. The empty node, where there is none, leaves the levels
// that the checks come with.
func ReadRules(n yaml.Node) (r Rules, err error) {
	if n.IsZero() {
		return r, nil
	}
	// Only a decoder of text refuses what it does not know.
	source, err := yaml.Marshal(&n)
	if err != nil {
		return r, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	decoder.KnownFields(true)
	if err = decoder.Decode(&r); err == nil {
		err = r.valid()
	}
	if err != nil {
		return r, fmt.Errorf("options.interlock: %w", err)
	}
	return r, nil
}

func (r Rules) valid() error {
	if !slices.Contains([]Level{"", Warn, Error}, r.Warnings) {
		return fmt.Errorf("warnings is %q: it can be warn or error", r.Warnings)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Checks)) {
		c, level := find(name), r.Checks[name]
		switch {
		case c == nil:
			return fmt.Errorf("checks: there is no check %s%s", name, meant(name))
		case !slices.Contains([]Level{Off, Warn, Error}, level):
			return fmt.Errorf("checks: %s is %q: it can be off, warn or error", name, level)
		case c.level == Error && level != Error:
			return fmt.Errorf("checks: %s is always an error, since what it finds cannot be right: remove the line", name)
		}
	}
	return nil
}

// apply gives findings their levels, and leaves out those that are off.
func (r Rules) apply(found []Finding) (kept []Finding) {
	for _, f := range found {
		if f.Level != Error {
			if r.Warnings != "" {
				f.Level = r.Warnings
			}
			if level, ok := r.Checks[f.Check]; ok {
				f.Level = level
			}
		}
		if f.Level != Off {
			kept = append(kept, f)
		}
	}
	return kept
}

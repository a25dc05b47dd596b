package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"gopkg.in/yaml.v3"
)

// names are what sqlc calls its configuration, in its order.
var names = []string{"sqlc.yaml", "sqlc.yml", "sqlc.json"}

// A Project is a configuration of sqlc that code can be generated on top of.
type Project struct {
	Dir    string // absolute; the paths in the configuration are relative to it
	File   string // name of the configuration in Dir
	Blocks []Block

	// Options are the generator's own, or the zero node.
	Options yaml.Node

	module     string // module path
	moduleRoot string // absolute
	source     []byte
}

// A Block is one schema with its queries and what is generated from them. Its paths are
// slash-separated, and relative to the project.
type Block struct {
	Schema  []string
	Queries []string
	Out     string // where sqlc's Go goes: db/internal/sqlcgen
	Facade  string // the folder of the package on top: db
	Import  string // import path of Out
}

// Find looks for the configuration in dir and the folders above it.
func Find(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		for _, name := range names {
			file := filepath.Join(at, name)
			if _, err := os.Stat(file); err == nil {
				return file, nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no sqlc.yaml in %s or above it: --config names one elsewhere", dir)
		}
	}
}

// Load reads a configuration. The error names the first setting that stands in the way.
func Load(file string) (*Project, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	p := &Project{Dir: dir, File: filepath.Base(file), source: source}
	if err := p.load(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.File, err)
	}
	return p, nil
}

func (p *Project) load() error {
	var c config
	if err := yaml.Unmarshal(p.source, &c); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	if err := p.findModule(); err != nil {
		return err
	}
	p.Options = c.Options.Interlock
	for i := range c.SQL {
		block, err := p.block(&c.SQL[i])
		if err != nil {
			return fmt.Errorf("sql[%d]: %w", i, err)
		}
		p.Blocks = append(p.Blocks, block)
	}
	for i, b := range p.Blocks {
		for _, other := range p.Blocks[:i] {
			if b.Facade == other.Facade {
				return fmt.Errorf("sql[%d]: gen.go.out: %s already has a package in %s", i, p.File, b.Facade)
			}
		}
	}
	return nil
}

func (p *Project) findModule() error {
	for at := p.Dir; ; at = filepath.Dir(at) {
		source, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil {
			p.module, p.moduleRoot = modfile.ModulePath(source), at
			return nil
		}
		if at == filepath.Dir(at) {
			return fmt.Errorf("no go.mod in %s or above it", p.Dir)
		}
	}
}

func (p *Project) block(s *settings) (Block, error) {
	b := Block{Schema: s.Schema, Queries: s.Queries, Out: path.Clean(filepath.ToSlash(s.Gen.Go.Out))}
	internal, _ := path.Split(b.Out)
	facade, last := path.Split(path.Clean(internal))
	b.Facade = path.Clean(facade)
	if last != "internal" || b.Facade == "." || path.IsAbs(b.Out) || strings.HasPrefix(b.Out, "..") {
		return b, fmt.Errorf("gen.go.out is %q: it must be of the form db/internal/sqlcgen, so that only the package db reaches what sqlc writes", s.Gen.Go.Out)
	}
	rel, err := filepath.Rel(p.moduleRoot, filepath.Join(p.Dir, filepath.FromSlash(b.Out)))
	if err != nil {
		return b, err
	}
	b.Import = path.Join(p.module, filepath.ToSlash(rel))
	return b, nil
}

// Path is where a slash-separated path in the project is.
func (p *Project) Path(name string) string { return filepath.Join(p.Dir, filepath.FromSlash(name)) }

package project

import (
	"errors"
	"fmt"
	"strconv"

	"gopkg.in/yaml.v3"
)

// config is the part of sqlc's configuration that matters here.
type config struct {
	Version string
	SQL     []settings
	Options struct{ Interlock yaml.Node }
}

type settings struct {
	Engine   string
	Schema   paths
	Queries  paths
	Codegen  []yaml.Node
	Analyzer struct{ Database string }
	Gen      languages
}

// languages has the settings for Go, and notices other languages.
type languages struct {
	Go    *goSettings
	Other []string
}

type goSettings struct {
	Out                       string
	SQLPackage                string `yaml:"sql_package"`
	BuildTags                 string `yaml:"build_tags"`
	EmitMethodsWithDBArgument bool   `yaml:"emit_methods_with_db_argument"`
	EmitPreparedQueries       bool   `yaml:"emit_prepared_queries"`
}

func (g *languages) UnmarshalYAML(n *yaml.Node) error {
	var all map[string]yaml.Node
	if err := n.Decode(&all); err != nil {
		return err
	}
	for language, settings := range all {
		if language != "go" {
			g.Other = append(g.Other, language)
			continue
		}
		g.Go = &goSettings{}
		if err := settings.Decode(g.Go); err != nil {
			return err
		}
	}
	return nil
}

// paths is a string or a list of strings.
type paths []string

func (p *paths) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*p = paths{n.Value}
		return nil
	}
	return n.Decode((*[]string)(p))
}

// check names what cannot be generated on top of.
func (c *config) check() error {
	if c.Version != "2" {
		return fmt.Errorf("version is %q: only version 2 of the format is supported", c.Version)
	}
	if len(c.SQL) == 0 {
		return errors.New("sql is empty: there is nothing to generate")
	}
	for i := range c.SQL {
		if err := c.SQL[i].check(); err != nil {
			return fmt.Errorf("sql[%d]: %w", i, err)
		}
	}
	return nil
}

func (s *settings) check() error {
	switch {
	case s.Engine != "postgresql":
		return fmt.Errorf("engine is %q: only postgresql is supported", s.Engine)
	case len(s.Schema) == 0:
		return errors.New("schema is missing")
	case len(s.Queries) == 0:
		return errors.New("queries is missing")
	case s.Gen.Go == nil:
		return errors.New("gen.go is missing")
	case len(s.Gen.Other) > 0:
		return fmt.Errorf("gen.%s would not be run: move it to a configuration of its own, for sqlc itself", s.Gen.Other[0])
	case len(s.Codegen) > 0:
		return errors.New("codegen would not be run: move it to a configuration of its own, for sqlc itself")
	case s.Analyzer.Database == "false":
		return errors.New("analyzer.database is false: queries are always analysed by a database here, and sqlc without one writes other types")
	}
	g := s.Gen.Go
	switch {
	case g.SQLPackage != "pgx/v5":
		return fmt.Errorf("gen.go.sql_package is %q: only pgx/v5 is supported", g.SQLPackage)
	case g.EmitMethodsWithDBArgument:
		return errors.New("gen.go.emit_methods_with_db_argument is not supported: a query is bound to its transaction by db.New")
	case g.EmitPreparedQueries:
		return errors.New("gen.go.emit_prepared_queries is not supported: pgx prepares statements by itself")
	case g.BuildTags != "":
		return fmt.Errorf("gen.go.build_tags is %s: build tags are not supported", strconv.Quote(g.BuildTags))
	}
	return nil
}

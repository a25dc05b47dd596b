package project

import (
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// Derive returns the configuration with which sqlc, run in the folder dir, generates into
// dir instead of the project, each block with the database of its URL.
func (p *Project) Derive(dir string, urls []string) ([]byte, error) {
	up, err := filepath.Rel(dir, p.Dir)
	if err != nil {
		return nil, err
	}
	var document map[string]any
	if err := yaml.Unmarshal(p.source, &document); err != nil {
		return nil, err
	}
	for _, key := range []string{"cloud", "servers", "plugins", "rules"} {
		delete(document, key)
	}
	for i, v := range document["sql"].([]any) {
		block := v.(map[string]any)
		block["schema"] = relocated(up, p.Blocks[i].Schema)
		block["queries"] = relocated(up, p.Blocks[i].Queries)
		block["database"] = map[string]string{"uri": urls[i]}
		delete(block, "rules")
	}
	return yaml.Marshal(document)
}

func relocated(up string, paths []string) (there []string) {
	for _, path := range paths {
		there = append(there, filepath.ToSlash(filepath.Join(up, path)))
	}
	return there
}

// Localize makes the paths in what sqlc printed relative to the project again.
func (p *Project) Localize(dir, message string) string {
	if up, err := filepath.Rel(dir, p.Dir); err == nil && up != "." {
		message = strings.ReplaceAll(message, up+string(filepath.Separator), "")
	}
	return strings.ReplaceAll(message, p.Dir+string(filepath.Separator), "")
}

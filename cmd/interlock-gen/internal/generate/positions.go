package generate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
)

// A position is where a query stands. Number is its place among all queries.
type position struct {
	File         string
	Line, Number int
}

func (p position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// findQueries returns where each query stands, by its name.
func findQueries(dir string, paths []string) (map[string]position, error) {
	files, err := scratch.Files(dir, paths)
	if err != nil {
		return nil, err
	}
	positions := map[string]position{}
	for _, file := range files {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		line := 0
		for text := range strings.Lines(string(source)) {
			line++
			if words := strings.Fields(text); len(words) > 2 && words[1] == "name:" && (words[0] == "--" || words[0] == "/*") {
				positions[words[2]] = position{filepath.ToSlash(file), line, len(positions)}
			}
		}
	}
	return positions, nil
}

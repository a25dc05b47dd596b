package generate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
)

// findQueries returns where each query stands, as file:line by its name.
func findQueries(dir string, paths []string) (map[string]string, error) {
	files, err := scratch.Files(dir, paths)
	if err != nil {
		return nil, err
	}
	positions := map[string]string{}
	for _, file := range files {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		number := 0
		for line := range strings.Lines(string(source)) {
			number++
			if words := strings.Fields(line); len(words) > 2 && words[1] == "name:" && (words[0] == "--" || words[0] == "/*") {
				positions[words[2]] = fmt.Sprintf("%s:%d", filepath.ToSlash(file), number)
			}
		}
	}
	return positions, nil
}

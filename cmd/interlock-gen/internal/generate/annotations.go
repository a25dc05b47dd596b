package generate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unicode"
	"unicode/utf8"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/annotation"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
)

// annotated returns the queries of the files, in their order, with what is asked for them.
func annotated(dir string, paths []string) (queries []*annotation.Query, err error) {
	files, err := scratch.Files(dir, paths)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for _, file := range files {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		found, err := annotation.Parse(filepath.ToSlash(file), string(source))
		queries = append(queries, found...)
		wrong = append(wrong, err)
		for _, q := range found {
			if first, _ := utf8.DecodeRuneInString(q.Name); unicode.IsLower(first) {
				wrong = append(wrong, fmt.Errorf("%s: %s begins with a small letter, so that no other package can call it: capitalize it", q.Position(), q.Name))
			}
		}
	}
	return queries, errors.Join(wrong...)
}

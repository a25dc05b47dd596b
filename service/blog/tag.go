package blog

import (
	"slices"
	"strings"

	"github.com/interlock-go/interlock/db"
)

// MaxTags is how many tags a post can have.
const MaxTags = 20

// normalized are the tags that a list of names means, each once, in the order of the names,
// with the spelling that came first. The order keeps two who add the same tags from a deadlock,
// also where each of them calls Create.
func normalized(names []string) (db.AddTagsParams, error) {
	spelling := map[string]string{}
	sorted := []string{}
	for _, name := range names {
		display := strings.TrimSpace(name)
		if display == "" || !isText(display) {
			return db.AddTagsParams{}, &InvalidError{Field: "Tags"}
		}
		name = strings.ToLower(display)
		if _, again := spelling[name]; again {
			continue
		}
		spelling[name] = display
		sorted = append(sorted, name)
	}
	if len(sorted) > MaxTags {
		return db.AddTagsParams{}, &InvalidError{Field: "Tags"}
	}
	slices.Sort(sorted)
	tags := db.AddTagsParams{Names: sorted, DisplayNames: make([]string, len(sorted))}
	for i, name := range sorted {
		tags.DisplayNames[i] = spelling[name]
	}
	return tags, nil
}

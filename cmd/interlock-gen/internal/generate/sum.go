package generate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/facade"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/project"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
)

// sumName is the file in a generated package that says what it was generated from and what
// it was then, by hashes.
const sumName = "interlock.sum"

// A sum is a line of the file: "from" an input or "made" an output, its hash and its name.
type sum struct{ role, hash, name string }

func (s sum) String() string { return s.role + " " + s.hash + " " + s.name }

func hash(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

// inputs are the sums of what a block is generated from.
func inputs(p *project.Project, b *project.Block) ([]sum, error) {
	// Not a file, but in the output: the import path depends on the module's.
	sums := []sum{{"from", hash([]byte(b.Import)), "the import path"}}
	files := []string{p.File}
	for _, paths := range [][]string{b.Schema, b.Queries} {
		found, err := scratch.Files(p.Dir, paths)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	for _, file := range slices.Compact(files) {
		content, err := os.ReadFile(filepath.Join(p.Dir, file))
		if err != nil {
			return nil, err
		}
		sums = append(sums, sum{"from", hash(content), filepath.ToSlash(file)})
	}
	return sums, nil
}

// isOutput reports whether a file belongs to what a block is generated into.
func isOutput(b *project.Block, name string) bool {
	folder := path.Dir(name)
	return (folder == b.Facade || folder == b.Out) && path.Base(name) != sumName
}

// formatSums is the file.
func formatSums(version string, sums []sum) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%s. DO NOT EDIT.\n", facade.Header, version)
	for _, s := range sums {
		fmt.Fprintln(&out, s)
	}
	return out.Bytes()
}

// addSums adds the file of each block to what was made. From has the inputs as they were
// before: what changes during the run is then found to have changed since.
func addSums(p *project.Project, version string, from [][]sum, made output) {
	for i := range p.Blocks {
		b := &p.Blocks[i]
		sums := from[i]
		for _, name := range made.names() {
			if isOutput(b, name) {
				sums = append(sums, sum{"made", hash(made[name]), name})
			}
		}
		made[path.Join(b.Facade, sumName)] = formatSums(version, sums)
	}
}

// VerifyOffline compares the project with the hashes that were written when it was generated,
// and returns the differences as Verify does. It needs no server, and does not generate: that
// another version of the generator would write other files it sees by the version alone.
func VerifyOffline(opts Options) ([]string, error) {
	p, err := project.Load(opts.Config)
	if err != nil {
		return nil, err
	}
	var lines []string
	for i := range p.Blocks {
		found, err := verifySums(p, &p.Blocks[i], opts.Version)
		if err != nil {
			return nil, err
		}
		lines = append(lines, found...)
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

func verifySums(p *project.Project, b *project.Block, version string) (lines []string, err error) {
	file := path.Join(b.Facade, sumName)
	content, err := os.ReadFile(p.Path(file))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{change{file, missing}.String()}, nil
	} else if err != nil {
		return nil, err
	}
	header, rest, _ := strings.Cut(string(content), "\n")
	if want, _, _ := strings.Cut(string(formatSums(version, nil)), "\n"); header != want {
		return []string{file + ": was written by another version of interlock-gen"}, nil
	}
	var then []sum
	for line := range strings.Lines(rest) {
		role, line, _ := strings.Cut(strings.TrimSpace(line), " ")
		hash, name, ok := strings.Cut(line, " ")
		if !ok || role != "from" && role != "made" {
			return []string{change{file, changed}.String()}, nil
		}
		then = append(then, sum{role, hash, name})
	}
	now, err := inputs(p, b)
	if err != nil {
		return nil, err
	}
	for _, folder := range []string{b.Facade, b.Out} {
		outputs, err := generatedIn(p, folder, then)
		if err != nil {
			return nil, err
		}
		now = append(now, outputs...)
	}
	return compareSums(then, now), nil
}

// generatedIn are the sums of the generated files in a folder, and of those that are known to
// have been.
func generatedIn(p *project.Project, folder string, known []sum) (sums []sum, err error) {
	entries, err := os.ReadDir(p.Path(folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		name := path.Join(folder, entry.Name())
		if !entry.Type().IsRegular() || entry.Name() == sumName {
			continue
		}
		content, err := os.ReadFile(p.Path(name))
		if err != nil {
			return nil, err
		}
		if generated(content) || slices.ContainsFunc(known, func(s sum) bool { return s.role == "made" && s.name == name }) {
			sums = append(sums, sum{"made", hash(content), name})
		}
	}
	return sums, nil
}

// compareSums says what is different now.
func compareSums(then, now []sum) (lines []string) {
	type key struct{ role, name string }
	before := map[key]string{}
	for _, s := range then {
		before[key{s.role, s.name}] = s.hash
	}
	for _, s := range now {
		k := key{s.role, s.name}
		hash, ok := before[k]
		delete(before, k)
		switch {
		case !ok && s.role == "from":
			lines = append(lines, s.name+": is new since the last generation")
		case !ok:
			lines = append(lines, change{s.name, orphaned}.String())
		case hash != s.hash && s.role == "from":
			lines = append(lines, s.name+": has changed since the last generation")
		case hash != s.hash:
			lines = append(lines, s.name+": differs from what was generated")
		}
	}
	for k := range before {
		if k.role == "from" {
			lines = append(lines, k.name+": was removed since the last generation")
		} else {
			lines = append(lines, change{k.name, missing}.String())
		}
	}
	return lines
}

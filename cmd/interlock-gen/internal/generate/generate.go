package generate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/check"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/locks"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/project"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
)

// Options say how to generate.
type Options struct {
	// Config is the path of sqlc's configuration.
	Config string

	// DatabaseURL names a database on the server to analyse with, whose role may create
	// databases. Empty: a private server, which is started for the purpose.
	DatabaseURL string

	// Version is the generator's, named in what it writes.
	Version string

	// Worker is the command that runs Worker.
	Worker []string

	// Notice is told what does not make the run fail, a line at a time. It may be nil.
	Notice func(line string)
}

// Generate generates what the configuration asks for and puts it into the project. It
// returns the files that changed, relative to the project; a failed run changes none.
func Generate(ctx context.Context, opts Options) ([]string, error) {
	p, made, found, err := build(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := judge(p, found.Warnings, opts.Notice); err != nil {
		return nil, err
	}
	return install(p, made)
}

// Verify generates what the configuration asks for into an empty folder and returns how
// the project differs from it, a line for each file: nothing if it does not.
func Verify(ctx context.Context, opts Options) ([]string, error) {
	p, made, found, err := build(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := judge(p, found.Warnings, opts.Notice); err != nil {
		return nil, err
	}
	changes, err := compare(p, made)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return lines, nil
}

// Baseline writes the warnings of the project to the file of those that are known, and
// returns their number. Nothing is generated.
func Baseline(ctx context.Context, opts Options) (int, error) {
	p, _, found, err := build(ctx, opts)
	if err != nil {
		return 0, err
	}
	return len(found.Warnings), os.WriteFile(p.Path(check.BaselineName), check.FormatBaseline(found.Warnings), 0o644)
}

// Locks returns what the queries lock. Nothing is written, and warnings do not matter.
func Locks(ctx context.Context, opts Options) ([]locks.Package, error) {
	_, _, found, err := build(ctx, opts)
	if err != nil {
		return nil, err
	}
	return found.Locks, nil
}

// judge fails for warnings that are not known, if the project keeps a list of those that
// are; else it only tells them.
func judge(p *project.Project, warnings []check.Finding, notice func(string)) error {
	if notice == nil {
		notice = func(string) {}
	}
	known, err := check.LoadBaseline(p.Dir)
	if err != nil {
		return err
	}
	fresh, stale := known.Split(warnings)
	for _, entry := range stale {
		notice(check.BaselineName + ": " + entry + ": there is no such warning any more: remove the line")
	}
	var errs []error
	for _, f := range fresh {
		if known == nil {
			notice(f.String())
			continue
		}
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

// output is what was made: the contents of files by their slash-separated path in the
// project.
type output map[string][]byte

// build makes the output.
func build(ctx context.Context, opts Options) (_ *project.Project, _ output, _ *result, err error) {
	p, err := project.Load(opts.Config)
	if err != nil {
		return nil, nil, nil, err
	}
	rules, err := check.ReadRules(p.Options)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", p.File, err)
	}
	dir, err := os.MkdirTemp("", "interlock-gen-")
	if err != nil {
		return nil, nil, nil, err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, nil, nil, err
	}

	j := job{Dir: dir, Version: opts.Version, Rules: rules}
	var from [][]sum
	for i, b := range p.Blocks {
		sums, err := inputs(p, &p.Blocks[i])
		if err != nil {
			return nil, nil, nil, err
		}
		from = append(from, sums)
		queries, err := annotated(p.Dir, b.Queries)
		if err != nil {
			return nil, nil, nil, err
		}
		j.Blocks = append(j.Blocks, blockJob{
			Out: b.Out, Facade: b.Facade, Import: b.Import, Queries: b.Queries, Annotated: queries,
		})
	}

	// The worker makes its parser ready while the database is.
	w, err := startWorker(ctx, opts.Worker)
	if err != nil {
		return nil, nil, nil, err
	}
	defer w.stop()
	server, err := scratch.Start(ctx, opts.DatabaseURL)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	urls, err := databases(ctx, server, p)
	if err != nil {
		return nil, nil, nil, err
	}
	for i, url := range urls {
		j.Blocks[i].URL = url
	}
	config, err := p.Derive(dir, urls)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, workerConfig), config, 0o600); err != nil {
		return nil, nil, nil, err
	}
	if err := w.run(j); err != nil {
		if message := (*workerError)(nil); errors.As(err, &message) {
			message.output = p.Localize(dir, message.output)
		}
		return nil, nil, nil, err
	}
	made, err := collect(p, dir)
	if err != nil {
		return nil, nil, nil, err
	}
	addSums(p, opts.Version, from, made)
	found, err := readResult(dir)
	return p, made, found, err
}

// databases makes a database for each schema and returns the URL of that of each block.
// Blocks with one schema share it: some projects have dozens of them, with a long history of
// migrations.
func databases(ctx context.Context, server *scratch.Server, p *project.Project) (urls []string, err error) {
	for i, b := range p.Blocks {
		same := slices.IndexFunc(p.Blocks[:i], func(other project.Block) bool {
			return slices.Equal(other.Schema, b.Schema)
		})
		if same >= 0 {
			urls = append(urls, urls[same])
			continue
		}
		url, err := server.Create(ctx)
		if err != nil {
			return nil, err
		}
		if err := scratch.Apply(ctx, url, p.Dir, b.Schema, query.Split); err != nil {
			return nil, fmt.Errorf("apply the schema: %w", err)
		}
		urls = append(urls, url)
	}
	return urls, nil
}

// collect reads what the worker wrote.
func collect(p *project.Project, dir string) (output, error) {
	made := output{}
	for _, folder := range folders(p) {
		entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(folder)))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if entry.IsDir() {
				continue
			}
			name := path.Join(folder, entry.Name())
			if made[name], err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}

// folders are those that are written to.
func folders(p *project.Project) (folders []string) {
	for _, b := range p.Blocks {
		folders = append(folders, b.Facade, b.Out)
	}
	return folders
}

func (o output) names() []string { return slices.Sorted(maps.Keys(o)) }

package generate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	sqlc "github.com/sqlc-dev/sqlc/pkg/cli"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/annotation"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/check"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/facade"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/locks"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// workerConfig is the name of sqlc's configuration in the folder of a job.
const workerConfig = "sqlc.yaml"

// A job is what the worker has to do. It is written to the worker's standard input.
type job struct {
	Dir     string // where the worker finds workerConfig and puts what it makes
	Version string
	Rules   check.Rules
	Blocks  []blockJob
}

type blockJob struct {
	Out, Facade, Import string // as in project.Block
	Queries             []string
	URL                 string              // of the database with the schema
	Annotated           []*annotation.Query // in the order of the files
}

// A worker is the process that does the job.
type worker struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	output strings.Builder
	ended  bool
}

func startWorker(ctx context.Context, command []string) (*worker, error) {
	w := &worker{cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	w.cmd.Stdout, w.cmd.Stderr = &w.output, &w.output
	w.cmd.WaitDelay = 5 * time.Second
	var err error
	if w.input, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return w, w.cmd.Start()
}

// A workerError is returned when the worker failed. It has what the worker, and within it
// sqlc, printed.
type workerError struct {
	output string
	err    error
}

func (e *workerError) Error() string {
	if e.output == "" {
		return "generate: " + e.err.Error()
	}
	return e.output
}

func (e *workerError) Unwrap() error { return e.err }

// run gives the worker its job and waits for the end.
func (w *worker) run(j job) error {
	encoded, err := json.Marshal(j)
	if err != nil {
		return err
	}
	// A worker that has ended already says more with its output than the broken pipe does.
	_, _ = w.input.Write(encoded)
	_ = w.input.Close()
	w.ended = true
	if err := w.cmd.Wait(); err != nil {
		return &workerError{strings.TrimSpace(w.output.String()), err}
	}
	return nil
}

// stop ends a worker that got no job: it finds its input closed.
func (w *worker) stop() {
	if !w.ended {
		_ = w.input.Close()
		_ = w.cmd.Wait()
	}
}

// Worker does one job, which it reads from in, and returns the exit code of its process.
func Worker(in io.Reader, complaints io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintln(complaints, err)
		return 1
	}
	if err := query.Warm(); err != nil {
		return fail(err)
	}
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fail(fmt.Errorf("no job: %w", err))
	}
	ctx := context.Background()
	var blocks []*block
	opened := map[string]*block{} // by their database
	for i := range j.Blocks {
		b := &block{blockJob: &j.Blocks[i]}
		if other := opened[b.URL]; other != nil {
			b.conn, b.catalog = other.conn, other.catalog
		} else {
			if err := b.open(ctx); err != nil {
				return fail(err)
			}
			defer b.conn.Close(ctx)
			opened[b.URL] = b
		}
		if err := failures(b.early()); err != nil {
			return fail(err)
		}
		blocks = append(blocks, b)
	}
	if code := sqlc.Run([]string{"generate", "--no-remote", "--file", filepath.Join(j.Dir, workerConfig)}); code != 0 {
		return code
	}
	r := &result{}
	for _, b := range blocks {
		if err := b.generate(ctx, j, r); err != nil {
			return fail(err)
		}
	}
	if err := r.write(j.Dir); err != nil {
		return fail(err)
	}
	return 0
}

// resultName is the file in the folder of a job with what the worker found out.
const resultName = "result.json"

// A result is what the worker found out, besides the files that it made.
type result struct {
	Warnings []check.Finding
	Locks    []locks.Package
}

func (r *result) write(dir string) error {
	encoded, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, resultName), encoded, 0o600)
}

func readResult(dir string) (*result, error) {
	encoded, err := os.ReadFile(filepath.Join(dir, resultName))
	if err != nil {
		return nil, err
	}
	r := &result{}
	return r, json.Unmarshal(encoded, r)
}

// failures joins the findings that are errors.
func failures(found []check.Finding) error {
	var errs []error
	for _, f := range found {
		if f.Level == check.Error {
			errs = append(errs, errors.New(f.String()))
		}
	}
	return errors.Join(errs...)
}

// A block is one that the worker is at.
type block struct {
	*blockJob
	conn    *pgx.Conn // to the database with the schema
	catalog *query.Catalog
}

// open connects to the database and reads what is in it.
func (b *block) open(ctx context.Context) (err error) {
	if b.conn, err = pgx.Connect(ctx, b.URL); err != nil {
		return err
	}
	b.catalog, err = query.LoadCatalog(ctx, b.conn)
	return err
}

// early finds what sqlc would say less about.
func (b *block) early() []check.Finding {
	var statements []*check.Statement
	for _, q := range b.Annotated {
		statements = append(statements, &check.Statement{Query: q, SQL: q.Source})
	}
	return check.Early(statements, b.catalog)
}

// generate writes the package on top of what sqlc has written, and adds what it
// found out to r.
func (b *block) generate(ctx context.Context, j job, r *result) error {
	source, err := facade.Read(filepath.Join(j.Dir, filepath.FromSlash(b.Out)))
	if err != nil {
		return err
	}
	statements, err := b.statements(source)
	if err != nil {
		return err
	}
	facts, refused, err := b.classify(source, statements)
	if err != nil {
		return err
	}
	found, err := check.Run(ctx, b.conn, b.catalog, statements, j.Rules)
	if err != nil {
		return err
	}
	found = b.sorted(append(refused, found...))
	if err := failures(found); err != nil {
		return err
	}
	for _, s := range statements {
		facts[s.Name].Guard = s.Guard
	}
	locking, err := b.locks(source)
	if err != nil {
		return err
	}
	for _, q := range locking.Queries {
		facts[q.Name].Implied = query.Implied(q.Touches)
	}
	files, err := facade.Write(source, facts, facade.Options{
		Version: j.Version,
		Package: path.Base(b.Facade),
		Import:  b.Import,
		Queries: b.Queries,
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(j.Dir, filepath.FromSlash(b.Facade), name)
		if err := os.WriteFile(file, files[name], 0o644); err != nil {
			return err
		}
	}
	r.Warnings = append(r.Warnings, found...)
	r.Locks = append(r.Locks, locking)
	return nil
}

// locks are what the queries lock, in the order of their names.
func (b *block) locks(source *facade.Source) (locks.Package, error) {
	p := locks.Package{Name: b.Facade}
	for _, q := range source.Queries {
		touches, err := query.Locks(q.Cmd, q.SQL, q.Table, b.catalog)
		if err != nil {
			return p, fmt.Errorf("%s: %w", q.Name, err)
		}
		p.Queries = append(p.Queries, locks.Query{Name: q.Name, Touches: touches})
	}
	return p, nil
}

// statements puts together what stands in the files and what sqlc made of it.
func (b *block) statements(source *facade.Source) (statements []*check.Statement, err error) {
	made := map[string]*facade.Query{}
	for _, q := range source.Queries {
		made[q.Name] = q
	}
	for _, asked := range b.Annotated {
		q := made[asked.Name]
		if q == nil {
			return nil, fmt.Errorf("%s: %s: sqlc wrote no method of that name", asked.Position(), asked.Name)
		}
		delete(made, asked.Name)
		statements = append(statements, &check.Statement{Query: asked, SQL: q.SQL})
	}
	for name := range made {
		return nil, fmt.Errorf("sqlc's method %s stands at no query", name)
	}
	return statements, nil
}

// classify finds the facts of all queries, and those that are refused.
func (b *block) classify(source *facade.Source, statements []*check.Statement) (map[string]*query.Facts, []check.Finding, error) {
	at := map[string]*check.Statement{}
	for _, s := range statements {
		at[s.Name] = s
	}
	all := map[string]*query.Facts{}
	var found []check.Finding
	for _, q := range source.Queries {
		s := at[q.Name]
		facts, err := query.Of(q.Cmd, q.SQL, q.Table, s.Reads, b.catalog)
		if refused := (*query.RefusedError)(nil); errors.As(err, &refused) {
			found = append(found, check.Refused(s, refused))
		} else if err != nil {
			return nil, nil, fmt.Errorf("%s: %s: %w", s.Position(), s.Name, err)
		}
		all[q.Name] = facts
	}
	return all, found, nil
}

// sorted puts findings into the order of the queries, and says which package they are from.
func (b *block) sorted(found []check.Finding) []check.Finding {
	number := map[string]int{}
	for i, q := range b.Annotated {
		number[q.Name] = i
	}
	slices.SortStableFunc(found, func(x, y check.Finding) int { return number[x.Query] - number[y.Query] })
	for i := range found {
		found[i].Package = b.Facade
	}
	return found
}

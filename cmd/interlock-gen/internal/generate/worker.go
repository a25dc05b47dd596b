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
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/facade"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// workerConfig is the name of sqlc's configuration in the folder of a job.
const workerConfig = "sqlc.yaml"

// A job is what the worker has to do. It is written to the worker's standard input.
type job struct {
	Dir     string // where the worker finds workerConfig and puts what it makes
	Version string
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
	if code := sqlc.Run([]string{"generate", "--no-remote", "--file", filepath.Join(j.Dir, workerConfig)}); code != 0 {
		return code
	}
	for _, b := range j.Blocks {
		if err := b.writeFacade(j); err != nil {
			return fail(err)
		}
	}
	return 0
}

// writeFacade writes the package on top of what sqlc has written.
func (b *blockJob) writeFacade(j job) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, b.URL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	catalog, err := query.LoadCatalog(ctx, conn)
	if err != nil {
		return err
	}
	source, err := facade.Read(filepath.Join(j.Dir, filepath.FromSlash(b.Out)))
	if err != nil {
		return err
	}
	facts, err := b.classify(source, catalog)
	if err != nil {
		return err
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
	return nil
}

// classify finds the facts of all queries, or all that is to be refused, in the order of the
// queries.
func (b *blockJob) classify(source *facade.Source, catalog *query.Catalog) (map[string]*query.Facts, error) {
	statements := map[string]*facade.Query{}
	for _, q := range source.Queries {
		statements[q.Name] = q
	}
	all := map[string]*query.Facts{}
	var refused []error
	for _, asked := range b.Annotated {
		q := statements[asked.Name]
		if q == nil {
			return nil, fmt.Errorf("%s: %s: sqlc wrote no method of that name", asked.Position(), asked.Name)
		}
		facts, err := query.Of(q.Cmd, q.SQL, q.Table, asked.Reads, catalog)
		if err != nil {
			refused = append(refused, fmt.Errorf("%s: %s: %w", asked.Position(), q.Name, err))
		}
		all[q.Name] = facts
	}
	for name := range statements {
		if _, ok := all[name]; !ok {
			return nil, fmt.Errorf("sqlc's method %s stands at no query", name)
		}
	}
	return all, errors.Join(refused...)
}

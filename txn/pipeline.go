package txn

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A request is a statement that travels with others.
type request struct {
	sql  string
	args []any
	// ours: a statement of this package, whose few arguments are int64 or string. It can be
	// sent as text without a description, so that it costs no preparation, warm or cold.
	ours bool
	// plain: a statement without arguments whose rows nobody wants; sent as ours are.
	plain bool

	description *pgconn.StatementDescription

	// For a tracer.
	ctx    context.Context
	told   bool   // of its end
	text   string // sql and args before they were rewritten, if they were
	params []any
}

// asked is the statement as the caller gave it.
func (r *request) asked() (sql string, args []any) {
	if r.text != "" {
		return r.text, r.params
	}
	return r.sql, r.args
}

// answers are the results of a pipeline, in order. pgx.BatchResults are such.
type answers interface {
	Exec() (pgconn.CommandTag, error)
	Query() (pgx.Rows, error)
	Close() error
}

// An unsentError is a pipeline that was not sent because of one of its requests. Nothing
// of it was executed.
type unsentError struct {
	index int // of the request
	err   error
}

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// send sends the requests in one flush, which the server answers in one. Requests behind
// one that fails are not executed. Statements that were never described on this connection
// cost a round trip before that, together. The error is an *unsentError.
//
// pgx's own batches are not used: they encode while they write, so that an argument of the
// wrong type costs the connection, and forget all their statements after an error.
func (s *session) send(ctx context.Context, c *pgx.Conn, requests []request) (answers, error) {
	s.current = ""
	if err := s.pack(ctx, c, requests); err != nil {
		s.traceUnsent(ctx, c, requests, err)
		return nil, err
	}
	if !s.traces() {
		return s.dispatch(ctx, c, requests)
	}
	if s.mode == pgx.QueryExecModeSimpleProtocol { // where sending fails as packing does elsewhere
		turn := &turn{Context: ctx}
		a, err := s.dispatch(turn, c, requests)
		if err != nil {
			s.traceUnsent(ctx, c, requests, err)
			return nil, err
		}
		tr, _ := s.startTrace(ctx, c, requests)
		tr.answers, tr.turn = a, turn
		return tr, nil
	}
	tr, ctx := s.startTrace(ctx, c, requests)
	a, err := s.dispatch(ctx, c, requests)
	tr.answers = a
	return tr, err
}

// pack does what can fail without anything being sent.
func (s *session) pack(ctx context.Context, c *pgx.Conn, requests []request) error {
	err := rewrite(ctx, c, requests)
	if err != nil || s.mode == pgx.QueryExecModeSimpleProtocol {
		return err
	}
	if err := s.describe(ctx, c, requests); err != nil {
		return err
	}
	return s.encode(c, requests)
}

// dispatch sends what was packed.
func (s *session) dispatch(ctx context.Context, c *pgx.Conn, requests []request) (answers, error) {
	if s.mode == pgx.QueryExecModeSimpleProtocol {
		return sendSimple(ctx, c, requests)
	}
	b := &pgconn.Batch{}
	for i := range requests {
		requests[i].write(b, &s.encoders[i])
	}
	results := c.PgConn().ExecBatch(ctx, b)
	if pg := c.PgConn(); !pg.IsBusy() && !pg.IsClosed() { // the context has ended just now
		return nil, &unsentError{0, results.Close()}
	}
	s.pipelined = pipelined{session: s, conn: c, results: results, requests: requests}
	return &s.pipelined, nil
}

// sendSimple sends the requests in the simple protocol, for which pgx alone can write
// arguments into a text.
func sendSimple(ctx context.Context, c *pgx.Conn, requests []request) (answers, error) {
	b := &pgx.Batch{}
	for _, r := range requests {
		b.Queue(r.sql, r.args...)
	}
	br := c.SendBatch(ctx, b)
	if c.PgConn().IsBusy() || c.IsClosed() {
		return br, nil
	}
	// It was not sent. Under a context that has ended, pgx says of each request whether its
	// arguments can be written, and sends nothing.
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for i, r := range requests {
		b := &pgx.Batch{}
		b.Queue(r.sql, r.args...)
		if err := c.SendBatch(done, b).Close(); err != nil && !cancelled(err) {
			return nil, &unsentError{i, err}
		}
	}
	return nil, &unsentError{0, br.Close()}
}

// rewrite has pgx.NamedArgs and their like rewrite their statements.
func rewrite(ctx context.Context, c *pgx.Conn, requests []request) (err error) {
	for i := range requests {
		r := &requests[i]
		if len(r.args) == 0 {
			continue
		}
		if w, ok := r.args[0].(pgx.QueryRewriter); ok {
			r.text, r.params = r.sql, r.args
			if r.sql, r.args, err = w.RewriteQuery(ctx, c, r.sql, r.args[1:]); err != nil {
				return &unsentError{i, fmt.Errorf("rewrite query: %w", err)}
			}
		}
	}
	return nil
}

// described reports whether the request's parameters and columns must be known to send it.
func (s *session) described(r *request) bool {
	return !r.ours && !r.plain && s.mode != pgx.QueryExecModeExec && s.mode != pgx.QueryExecModeSimpleProtocol
}

// cold reports whether something must be prepared before the requests can be sent.
func (s *session) cold(requests []request) bool {
	for i := range requests {
		if r := &requests[i]; s.described(r) && (s.prepared == nil || s.prepared.get(r.sql) == nil) {
			return true
		}
	}
	return false
}

// describe looks the requests' descriptions up, and asks for those that are missing.
func (s *session) describe(ctx context.Context, c *pgx.Conn, requests []request) error {
	missing := 0
	for i := range requests {
		r := &requests[i]
		if r.ours {
			s.control(r)
		}
		if !s.described(r) {
			continue
		}
		if s.prepared != nil {
			r.description = s.prepared.get(r.sql)
		}
		if r.description == nil {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	return s.prepare(ctx, c, requests)
}

// prepare has the server describe what has no description yet. The statements of our own that
// come again are prepared on this occasion.
func (s *session) prepare(ctx context.Context, c *pgx.Conn, requests []request) error {
	p := c.PgConn().StartPipeline(ctx)
	var freed []string
	if s.prepared != nil {
		freed, s.prepared.dropped = s.prepared.dropped, nil
		for _, name := range freed {
			p.SendDeallocate(name)
		}
	}
	asked, index := map[string]string{}, -1 // of the one that failed, if one did
	for i := range requests {
		r := &requests[i]
		if _, known := asked[r.sql]; known || !s.described(r) || r.description != nil {
			continue
		}
		if index < 0 {
			index = i
		}
		name := s.prepared.name(r.sql)
		asked[r.sql] = name
		p.SendPrepare(name, r.sql, nil)
	}
	own := s.uncontrolled(requests)
	for _, sql := range own {
		p.SendPrepare(controls[sql], sql, nil)
	}
	err := p.Sync()
	for range freed {
		if err == nil {
			_, err = p.GetResults()
		}
	}
	found := map[string]*pgconn.StatementDescription{}
	for i := range requests {
		r := &requests[i]
		if err != nil || !s.described(r) || r.description != nil {
			continue
		}
		if found[r.sql] == nil {
			index = i
			var d *pgconn.StatementDescription
			if d, err = described(p, asked[r.sql], r.sql, nil); err != nil {
				continue
			}
			found[r.sql] = d
		}
		r.description = found[r.sql]
	}
	for _, sql := range own {
		var d *pgconn.StatementDescription
		if d, err = described(p, controls[sql], sql, err); err == nil {
			s.prepared.controls[sql] = d
		}
	}
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		// Those before the failed one exist on the server, whether its transaction goes on or
		// not; they are freed rather than kept, which is one case less. A pooler remembers the
		// names of the others too, and closes the connection of who gives one a second time. And
		// those to be freed are not if nothing was sent.
		if s.prepared != nil && s.prepared.named {
			s.prepared.dropped = freed
			for _, name := range asked {
				s.prepared.dropped = append(s.prepared.dropped, name)
			}
			for _, sql := range own {
				delete(s.prepared.controls, sql)
				s.prepared.dropped = append(s.prepared.dropped, controls[sql])
			}
		}
		return &unsentError{index, err}
	}
	for i := range requests {
		r := &requests[i]
		if r.ours {
			s.control(r)
		} else if d := found[r.sql]; s.prepared != nil && d != nil {
			s.prepared.put(d)
			delete(found, d.SQL)
		}
	}
	return nil
}

// described reads what a pipeline says of a statement that was to be prepared in it, unless it
// has failed before.
func described(p *pgconn.Pipeline, name, sql string, err error) (*pgconn.StatementDescription, error) {
	if err != nil {
		return nil, err
	}
	result, err := p.GetResults()
	if err != nil {
		return nil, err
	}
	d, ok := result.(*pgconn.StatementDescription)
	if !ok {
		return nil, fmt.Errorf("txn: the server described a statement with %T", result)
	}
	d.Name, d.SQL = name, sql
	return d, nil
}

// encode encodes all arguments before anything is written: after a mistake in one nothing
// has happened to the connection.
func (s *session) encode(c *pgx.Conn, requests []request) error {
	for len(s.encoders) < len(requests) {
		s.encoders = append(s.encoders, pgx.ExtendedQueryBuilder{})
	}
	for i := range requests {
		r, e := &requests[i], &s.encoders[i]
		if r.ours {
			e.ParamValues = textOf(e.ParamValues[:0], r.args)
			e.ParamFormats, e.ResultFormats = e.ParamFormats[:0], e.ResultFormats[:0]
			continue
		}
		err := e.Build(c.TypeMap(), r.description, r.args)
		if err == nil && len(r.args) > maxArguments {
			err = fmt.Errorf("txn: %d arguments, the protocol allows %d", len(r.args), maxArguments)
		}
		if err != nil {
			return &unsentError{i, err}
		}
	}
	return nil
}

// maxArguments is what the protocol's Bind message can count.
const maxArguments = 65535

func textOf(buf [][]byte, args []any) [][]byte {
	for _, a := range args {
		switch a := a.(type) {
		case int64:
			buf = append(buf, strconv.AppendInt(nil, a, 10))
		case string:
			buf = append(buf, []byte(a))
		default:
			panic(fmt.Sprintf("txn: argument of type %T in a statement of our own", a))
		}
	}
	return buf
}

// write appends the request to what will be sent. Until the answers are read nothing else is
// encoded, so that the batch may keep the encoder's formats.
func (r *request) write(b *pgconn.Batch, e *pgx.ExtendedQueryBuilder) {
	switch d := r.description; {
	case d == nil:
		b.ExecParams(r.sql, e.ParamValues, nil, e.ParamFormats, e.ResultFormats)
	case d.Name == "":
		b.ExecParams(r.sql, e.ParamValues, d.ParamOIDs, e.ParamFormats, e.ResultFormats)
	default:
		b.ExecStatement(d, e.ParamValues, e.ParamFormats, e.ResultFormats)
	}
}

// pipelined are the answers to requests sent in the extended protocol.
type pipelined struct {
	session  *session
	conn     *pgx.Conn
	results  *pgconn.MultiResultReader
	requests []request
	read     int   // how many answers
	err      error // the first; nothing behind it was executed
}

func (r *pipelined) next() (*pgconn.ResultReader, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.read < len(r.requests) {
		r.session.current = r.requests[r.read].sql
		r.read++
	}
	if !r.results.NextResult() {
		if r.err = r.results.Close(); r.err == nil {
			r.err = errors.New("txn: the server sent fewer answers than statements")
		}
		return nil, r.err
	}
	return r.results.ResultReader(), nil
}

func (r *pipelined) Exec() (pgconn.CommandTag, error) {
	reader, err := r.next()
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := reader.Close()
	if err != nil {
		r.err = err
	}
	return tag, err
}

func (r *pipelined) Query() (pgx.Rows, error) {
	reader, err := r.next()
	if err != nil {
		return failedRows(err), err
	}
	return &rows{Rows: pgx.RowsFromResultReader(r.conn.TypeMap(), reader), conn: r.conn, reader: reader}, nil
}

func (r *pipelined) Close() error {
	if err := r.results.Close(); r.err == nil {
		r.err = err
	}
	return r.err
}

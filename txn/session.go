package txn

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A session is what this package remembers of a connection. It lives as long as the
// connection does, in its custom data.
type session struct {
	mode     pgx.QueryExecMode
	major    int       // version of the server; 0 if it does not say
	prepared *prepared // nil in modes that keep no descriptions
	encoders []pgx.ExtendedQueryBuilder
	lone     [1]request // of a statement that goes by itself, without an allocation
	requests []request  // of the last flush; the room is used again
	current  string     // the statement whose answer is read

	pipelined pipelined // the answers to the last flush; used again
	steps     []step    // room for what a transaction holds back, likewise

	address string // of the server
	genuine bool   // it is PostgreSQL, and not a service that speaks its protocol
	epoch   string // see epochSQL; "" until asked for

	conn      *pgconn.PgConn
	probe     *probe
	canceller *canceller // nil in pools that were not set up by ConfigurePool

	query pgx.QueryTracer
	batch pgx.BatchTracer
}

const sessionKey = "interlock.session"

func sessionOf(c *pgx.Conn) *session {
	data := c.PgConn().CustomData()
	if s, ok := data[sessionKey].(*session); ok {
		return s
	}
	cfg := c.Config() // a deep copy, hence once
	s := &session{mode: cfg.DefaultQueryExecMode, major: serverMajor(c), query: cfg.Tracer}
	s.address = c.PgConn().Conn().RemoteAddr().String()
	s.genuine = genuine(c.PgConn())
	s.batch, _ = cfg.Tracer.(pgx.BatchTracer)
	switch s.mode {
	case pgx.QueryExecModeCacheStatement:
		s.prepared = newPrepared(cfg.StatementCacheCapacity, true)
	case pgx.QueryExecModeCacheDescribe:
		s.prepared = newPrepared(cfg.DescriptionCacheCapacity, false)
	}
	s.conn = c.PgConn()
	s.probe = newProbe(c)
	s.canceller, _ = data[cancellerKey].(*canceller)
	data[sessionKey] = s
	return s
}

// tidy keeps the room that a transaction needed, and nothing of what was in it.
func (s *session) tidy(steps []step) {
	clear(steps[:cap(steps)])
	clear(s.requests[:cap(s.requests)])
	s.steps, s.pipelined = steps[:0], pipelined{}
}

// failed draws from the current statement's error what it says about the statement itself.
func (s *session) failed(err error) {
	if s.prepared == nil || err == nil {
		return
	}
	switch state := SQLState(err); {
	case state == "":
	case state == stateUnknownStatement:
		s.prepared.clear() // somebody deallocated what is ours
	case state == stateProtocolViolation, state[:2] == classNotSupported,
		state[:2] == classSyntaxOrAccess, state[:2] == classInternal:
		s.prepared.drop(s.current) // its plan, or what it was made from, may be no longer right
	}
}

// exec sends a statement by itself, as pgx's Exec does, and by pgx's own means if it must be
// alone.
func (s *session) exec(ctx context.Context, c *pgx.Conn, sql string, args []any, alone bool) (tag pgconn.CommandTag, err error) {
	s.current = sql
	if s.prepared == nil || len(args) == 0 || alone {
		return c.Exec(ctx, sql, args...)
	}
	if s.query != nil {
		ctx = s.query.TraceQueryStart(ctx, c, pgx.TraceQueryStartData{SQL: sql, Args: args})
	}
	reader, err := s.execute(ctx, c, sql, args)
	if err == nil {
		tag, err = reader.Close()
	}
	if s.query != nil {
		s.query.TraceQueryEnd(ctx, c, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
	}
	return tag, err
}

// queryRows sends a statement by itself, as pgx's Query does.
func (s *session) queryRows(ctx context.Context, c *pgx.Conn, sql string, args []any, alone bool) (pgx.Rows, error) {
	s.current = sql
	if s.prepared == nil || sql == "" || alone {
		return c.Query(ctx, sql, args...)
	}
	if s.query == nil {
		reader, err := s.execute(ctx, c, sql, args)
		if err != nil {
			return nil, err
		}
		return &rows{Rows: pgx.RowsFromResultReader(c.TypeMap(), reader), conn: c}, nil
	}
	ctx = s.query.TraceQueryStart(ctx, c, pgx.TraceQueryStartData{SQL: sql, Args: args})
	reader, err := s.execute(ctx, c, sql, args)
	if err != nil {
		s.query.TraceQueryEnd(ctx, c, pgx.TraceQueryEndData{Err: err})
		return nil, err
	}
	inner := &rows{Rows: pgx.RowsFromResultReader(c.TypeMap(), reader), conn: c}
	return &rows{Rows: inner, finish: func(err error) error {
		s.query.TraceQueryEnd(ctx, c, pgx.TraceQueryEndData{CommandTag: inner.CommandTag(), Err: err})
		return err
	}}, nil
}

// execute runs a statement that is prepared here, or will be, so that it is found again
// when it travels with others, and stays prepared when it fails.
func (s *session) execute(ctx context.Context, c *pgx.Conn, sql string, args []any) (*pgconn.ResultReader, error) {
	s.lone[0] = request{sql: sql, args: args}
	requests := s.lone[:]
	r := &requests[0]
	err := rewrite(ctx, c, requests)
	if err == nil {
		err = s.describe(ctx, c, requests)
	}
	if err == nil {
		err = s.encode(c, requests)
	}
	if err != nil {
		if unsent, ok := errors.AsType[*unsentError](err); ok {
			err = unsent.err
		}
		return nil, err
	}
	e := &s.encoders[0]
	s.current = r.sql
	if d := r.description; d.Name == "" {
		return c.PgConn().ExecParams(ctx, r.sql, e.ParamValues, d.ParamOIDs, e.ParamFormats, e.ResultFormats), nil
	}
	return c.PgConn().ExecStatement(ctx, r.description, e.ParamValues, e.ParamFormats, e.ResultFormats), nil
}

// genuine reports whether the server is PostgreSQL itself. Others have other transaction
// ids, or none.
func genuine(c *pgconn.PgConn) bool {
	return c.ParameterStatus("crdb_version") == "" && !strings.Contains(c.ParameterStatus("server_version"), "-YB-")
}

package txn

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// prepared are the statements of a connection whose parameters and columns are known,
// least recently used last. They are kept apart from pgx's own, which forgets every
// statement of a batch in which one failed: the next attempt would pay for all of them
// again.
type prepared struct {
	capacity int
	named    bool // prepared on the server under a name, else only described
	byText   map[string]*list.Element
	recent   *list.List // of *pgconn.StatementDescription
	dropped  []string   // names to be freed on the server with the next preparation
	controls map[string]*pgconn.StatementDescription
}

// controls are the statements of our own that nearly every transaction has, and what they are
// called on the server. Unnamed, a statement is parsed and planned each time, which costs the
// server about as much as executing a simple one. COMMIT is not among them: it is cheap to
// parse, and nothing that becomes of a name must become of it.
var controls = func() map[string]string {
	names := map[string]string{xidSQL: nameOf(xidSQL, 4)}
	for _, access := range begins {
		for _, sql := range access[ReadUncommitted:] {
			names[sql] = nameOf(sql, 4)
		}
	}
	return names
}()

func newPrepared(capacity int, named bool) *prepared {
	return &prepared{
		capacity: max(capacity, 1),
		named:    named,
		byText:   map[string]*list.Element{},
		recent:   list.New(),
		controls: map[string]*pgconn.StatementDescription{},
	}
}

func (p *prepared) get(sql string) *pgconn.StatementDescription {
	e := p.byText[sql]
	if e == nil {
		return nil
	}
	p.recent.MoveToFront(e)
	return e.Value.(*pgconn.StatementDescription)
}

// name is what a statement is called on the server.
func (p *prepared) name(sql string) string {
	if p == nil || !p.named {
		return ""
	}
	return nameOf(sql, 24)
}

// nameOf names a statement by what it is, in so many bytes: where a connection pooler mixes
// sessions up, a name means the same in all of them, or nothing.
func nameOf(sql string, bytes int) string {
	sum := sha256.Sum256([]byte(sql))
	return "interlock_" + hex.EncodeToString(sum[:bytes])
}

// uncontrolled returns the controls among the requests that could be prepared and are not. Of
// the question for a transaction's id it is the form that will be asked from the next time on.
func (s *session) uncontrolled(requests []request) (missing []string) {
	if s.prepared == nil || !s.prepared.named || !s.genuine {
		return nil
	}
	for i := range requests {
		r := &requests[i]
		sql := r.sql
		if sql == xidAndEpochSQL {
			sql = xidSQL
		}
		if r.ours && controls[sql] != "" && s.prepared.controls[sql] == nil && !slices.Contains(missing, sql) {
			missing = append(missing, sql)
		}
	}
	return missing
}

// control gives a statement of our own its description, if it is prepared.
func (s *session) control(r *request) {
	if s.prepared != nil {
		r.description = s.prepared.controls[r.sql]
	}
}

func (p *prepared) put(d *pgconn.StatementDescription) {
	p.byText[d.SQL] = p.recent.PushFront(d)
	if p.recent.Len() > p.capacity {
		p.forget(p.recent.Back())
	}
}

// drop forgets a statement whose plan or description is no longer right.
func (p *prepared) drop(sql string) {
	if e := p.byText[sql]; e != nil {
		p.forget(e)
	}
	if d := p.controls[sql]; d != nil {
		p.dropped = append(p.dropped, d.Name)
		delete(p.controls, sql)
	}
}

func (p *prepared) forget(e *list.Element) {
	d := p.recent.Remove(e).(*pgconn.StatementDescription)
	delete(p.byText, d.SQL)
	if d.Name != "" {
		p.dropped = append(p.dropped, d.Name)
	}
}

// clear forgets all, after somebody freed some of them behind our back.
func (p *prepared) clear() {
	for p.recent.Len() > 0 {
		p.forget(p.recent.Back())
	}
	for sql := range p.controls {
		p.drop(sql)
	}
}
